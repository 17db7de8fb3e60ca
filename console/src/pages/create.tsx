// From a file to a job: the file, what is wrong with it, how to train, what that takes, and then the job.
import { useEffect, useState } from 'preact/hooks';
import { ApiError, act, get, segment } from '../api';
import { useKept, useLoad } from '../hooks';
import { Act, Badge, Bars, Drop, Facts, Fault, Field, Form, Sent } from '../ui';
import { bytes, count, numeric, percent } from '../format';
import { Report } from './report';
import { Stored, listFiles, upload } from './data';

/** What most jobs say; all others follow, as the daemon lists them. */
const MAIN = ['method', 'objective', 'epochs', 'steps', 'rank', 'alpha', 'lr', 'batch_size', 'eval_split', 'eval_every', 'gate', 'publish', 'dedup', 'balance'];

interface Setting { name: string; about: string; type: string; choices: string[] | null }

/** The settings as the OpenAPI document has them. */
function settings(document: any): Setting[] {
  const fields = document.components.schemas.TrainSettings.properties as Record<string, any>;
  return Object.entries(fields).map(([name, schema]) => {
    const wanted = schema.anyOf?.find((part: any) => part.type || part.anyOf) ?? schema;
    const plain = wanted.anyOf?.find((part: any) => part.type) ?? wanted;
    return { name, about: schema.description ?? '', type: plain.type ?? 'string', choices: plain.enum ?? null };
  });
}

function typed(setting: Setting, text: string): unknown {
  if (setting.type === 'number' || setting.type === 'integer') return numeric(text);
  if (setting.type === 'boolean') return text === 'true';
  if (setting.type === 'object' || /^[[{]/.test(text.trim())) {
    try { return JSON.parse(text); } catch { return text; }
  }
  return text;
}

export function NewJob({ file: wanted }: { file?: string }) {
  const document = useLoad<any>((signal) => get('/openapi.json', { signal }), []);
  const stored = useLoad((signal) => listFiles(signal), []);
  const models = useLoad<{ data: { id: string }[] }>((signal) => get('/v1/models', { signal }), []);
  const [file, setFile] = useKept<string>('job-file', '');
  const [held, setHeld] = useKept('job-held', '');
  const [name, setName] = useKept('job-name', '');
  const [model, setModel] = useKept('job-model', '');
  const [values, setValues] = useKept<Record<string, string>>('job-values', {});
  const [search, setSearch] = useState('');
  const [waiting, setWaiting] = useState<File | null>(null);
  const [plan, setPlan] = useState<any>(null);
  const [wrong, setWrong] = useState<string | null>(null);
  useEffect(() => { if (wanted) setFile(wanted); }, [wanted]);
  const report = useLoad<any>((signal) => file ? get(`/v1/files/${segment(file)}/report`, { signal, query: { held_out: held, eval_split: held ? '' : values.eval_split } }) : Promise.resolve(null), [file, held]);
  const files = stored.value?.data ?? [];
  const all = document.value ? settings(document.value) : [];
  const main = MAIN.map((one) => all.find((setting) => setting.name === one)).filter((one) => one !== undefined);
  const others = all.filter((one) => !MAIN.includes(one.name) && (!search || `${one.name} ${one.about}`.toLowerCase().includes(search.toLowerCase())));
  const body = () => ({
    training_file: file,
    ...(held ? { validation_file: held } : {}),
    ...(name ? { suffix: name } : {}),
    ...(model ? { model } : {}),
    adapterd: Object.fromEntries(all.filter((one) => (values[one.name] ?? '') !== '').map((one) => [one.name, typed(one, values[one.name])])),
  });
  const change = (setting: string, text: string) => {
    setPlan(null);
    setValues((before) => ({ ...before, [setting]: text }));
  };
  const blame = (error: ApiError) => setWrong(error.param ?? null);
  const isWrong = (setting: string) => wrong === setting || (wrong?.endsWith(`.${setting}`) ?? false);
  const send = async (chosen: File, sent: Sent) => {
    const made: Stored = await upload(chosen, sent);
    stored.reload();
    setPlan(null);
    setFile(made.id);
    setWaiting(null);
  };
  const create = async () => {
    setWrong(null);
    const job = await act('POST', '/v1/fine_tuning/jobs', body());
    location.hash = `#/jobs/${job.id}`;
  };
  const show = (one: Setting) => (
    <Field key={one.name} label={one.name} hint={one.about} value={values[one.name] ?? ''} set={(text) => change(one.name, text)} wrong={isWrong(one.name)}
      placeholder="as the daemon has it"
      options={one.choices ? [['', 'as the daemon has it'], ...one.choices] : one.type === 'boolean' ? [['', 'as the daemon has it'], 'true', 'false'] : undefined} />
  );
  return (
    <>
      <p class="crumbs"><a href="#/jobs">Jobs</a></p>
      <h1>New job</h1>
      <h2>1. File</h2>
      <Drop label="Drop a training file here, or choose one" take={([first]) => setWaiting(first)} />
      {waiting && <p>{waiting.name}, {bytes(waiting.size)} <Act class="primary" run={(sent) => send(waiting, sent)}>Upload and check</Act></p>}
      <div class="row">
        <Field label="Training file" value={file} set={(id) => { setPlan(null); setFile(id); }} wrong={isWrong('training_file')}
          options={[['', 'choose an uploaded file'], ...files.map((one) => [one.id, `${one.filename} (${bytes(one.bytes)})`] as const), ...(file && !files.some((one) => one.id === file) ? [[file, file] as const] : [])]} />
        <Field label="Held-out file" value={held} set={(id) => { setPlan(null); setHeld(id); }} options={[['', 'none, or as eval_split says'], ...files.filter((one) => one.id !== file).map((one) => [one.id, one.filename] as const)]} />
      </div>
      <Fault error={stored.error} retry={stored.reload} />
      {file && (
        <>
          <h2>2. Report</h2>
          <Fault error={report.error} retry={report.reload} />
          {!report.value && !report.error && <p role="status">Reading the file…</p>}
          {report.value && <details class="report-box" open><summary>What is in it, and what is wrong with it</summary><Report of={report.value} /></details>}
          <h2>3. Settings</h2>
          <Fault error={document.error} retry={document.reload} />
          <Form submit="Plan" legend="Settings of the job" onFault={blame} run={async () => { setWrong(null); setPlan(null); setPlan(await act('POST', '/v1/fine_tuning/plan', body())); }}>
            <div class="grid">
              <Field label="Name" hint="What the adapter is served under; one is made up where empty." value={name} set={(text) => { setPlan(null); setName(text); }} wrong={isWrong('suffix')} />
              <Field label="Continue from" hint="The base, or an adapter." value={model} set={(text) => { setPlan(null); setModel(text); }} suggest={models.value?.data.slice(0, 400).map((one) => one.id) ?? []} wrong={isWrong('model')} />
              {main.map(show)}
            </div>
            <details><summary>All settings</summary>
              <Field label="Find a setting" type="search" value={search} set={setSearch} />
              <div class="grid">{others.map(show)}</div>
            </details>
          </Form>
          {plan && <Plan of={plan} />}
          <h2>{plan ? '5' : '4'}. Job</h2>
          <Act class="primary" run={create} onFault={blame}>Create the job</Act>
        </>
      )}
    </>
  );
}

function Plan({ of }: { of: any }) {
  return (
    <section aria-label="Plan">
      <h2>4. Plan</h2>
      <p role="status"><Badge tone={of.fits ? 'good' : of.fits_in_smaller_forwards ? 'warn' : 'bad'}>{of.fits ? 'fits' : of.fits_in_smaller_forwards ? 'fits in smaller forwards' : 'does not fit'}</Badge> {count(of.steps)} steps over {count(of.rows)} rows, {bytes(of.training_bytes)} at {of.peak_at}, {bytes(of.available_bytes)} available</p>
      <Facts rows={[
        ['Name', of.name],
        ['Held-out rows', count(of.held_out_rows)],
        ['Tokens', `${count(of.tokens)}, ${count(of.trained_tokens)} learned`],
        ['Longest row', `${count(of.longest_row)} tokens`],
        ['Trained parameters', `${count(of.parameters.trainable)} (${percent(of.parameters.trainable / of.parameters.all, 2)})`],
      ]} />
      <Bars label="Memory by part" rows={Object.entries(of.parts as Record<string, number>).map(([part, value]) => ({ name: part, value, text: bytes(value) }))} />
      {of.changes.length > 0 && <><p>What would fit:</p><ul>{of.changes.map((change: any, at: number) => <li key={at}>{Object.entries(change.settings).map(([setting, value]) => `${setting} ${value}`).join(', ')}: {bytes(change.training_bytes)}{change.fits ? '' : ', still too much'}</li>)}</ul></>}
      {of.warnings.length > 0 && <ul>{of.warnings.map((said: string) => <li key={said}>{said}</li>)}</ul>}
    </section>
  );
}
