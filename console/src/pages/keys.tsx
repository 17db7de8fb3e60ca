// Keys, what each may have, and who changed what.
import { useState } from 'preact/hooks';
import { act, get, segment } from '../api';
import { useLoad } from '../hooks';
import { Act, Badge, Check, Confirm, Copy, Dialog, Fault, Field, Form, Table, usePages } from '../ui';
import { bytes, count, numeric, time } from '../format';

const LIMITS: [string, string, (value: number) => string][] = [
  ['requests_per_minute', 'Requests a minute', count],
  ['tokens_per_minute', 'Tokens a minute', count],
  ['concurrent', 'Requests at once', count],
  ['queued_jobs', 'Queued jobs', count],
  ['training_tokens_per_day', 'Training tokens a day', count],
  ['storage_bytes', 'Storage in bytes', bytes],
];
const SCOPES = ['infer', 'train', 'adapters', 'admin'];

export function Keys() {
  const list = useLoad<{ data: any[] }>((signal) => get('/v1/keys', { signal }), []);
  const [issued, setIssued] = useState<any>(null);
  const [ended, setEnded] = useState(false);
  const now = Date.now() / 1000;
  const isOver = (one: any) => one.revoked_at !== null || (one.expires_at !== null && one.expires_at < now);
  const all = list.value?.data ?? [];
  const { shown, pager } = usePages(all.filter((one) => ended || !isOver(one)), 50);
  const limits = (one: any) => LIMITS.filter(([name]) => one[name] !== null && one[name] !== undefined).map(([name, label, show]) => <div key={name}>{label}: {show(one[name])}</div>);
  // The audit below tells of what was done here.
  const [turn, setTurn] = useState(0);
  const again = () => { list.reload(); setTurn(turn + 1); };
  const tell = (made: any) => { setIssued(made); again(); };
  return (
    <>
      <h1>Keys and limits</h1>
      <Fault error={list.error} retry={list.reload} />
      {list.value && <>
        <Check label="Also keys that have ended" value={ended} set={setEnded} />
        <Table caption="Keys" rows={shown} id={(one) => one.id} empty="No key." columns={[
          { name: 'Name', show: (one) => <>{one.name} {one.revoked_at && <Badge tone="bad">revoked</Badge>}<br /><code>{one.id}</code></> },
          { name: 'Scopes', show: (one) => one.scopes.join(', ') },
          { name: 'Adapters', show: (one) => one.adapters.join(', ') },
          { name: 'Limits', show: (one) => { const said = limits(one); return said.length ? said : 'none'; } },
          { name: 'Weight', show: (one) => one.weight ?? 1, right: true },
          { name: 'Last used', show: (one) => time(one.last_used_at) },
          { name: 'Expires', show: (one) => one.expires_at ? time(one.expires_at) : 'never' },
          { name: 'Do', show: (one) => isOver(one) ? null : (
            <div class="row tight">
              <Rotate of={one} tell={tell} />
              <Confirm name={one.name} verb="Revoke" about="Requests with this key are refused at once, those that run are ended." run={() => act('DELETE', `/v1/keys/${segment(one.id)}`)} onDone={again} />
            </div>
          ) },
        ]} />
        {pager}
      </>}
      <Create tell={tell} />
      <Dialog title="The secret" open={issued !== null} close={() => setIssued(null)}>
        <p>This is shown once. Whoever has it may do what <b>{issued?.name}</b> may.</p>
        <p><code class="secret">{issued?.secret}</code></p>
        <div class="act"><Copy text={issued?.secret ?? ''}>Copy the secret</Copy><button type="button" onClick={() => setIssued(null)}>Done</button></div>
      </Dialog>
      <Audit turn={turn} />
    </>
  );
}

function Rotate({ of, tell }: { of: any; tell: (made: any) => void }) {
  const [open, setOpen] = useState(false);
  const [overlap, setOverlap] = useState('3600');
  return (
    <>
      <button type="button" onClick={() => setOpen(true)} aria-label={`Rotate ${of.name}`}>Rotate</button>
      <Dialog title={`New secret for ${of.name}`} open={open} close={() => setOpen(false)}>
        <Form submit="Rotate" run={async () => {
          const made = await act('POST', `/v1/keys/${segment(of.id)}/rotate`, { overlap: numeric(overlap) });
          setOpen(false);
          tell(made);
        }}>
          <Field label="The secret before still counts for so many seconds" type="number" min="0" value={overlap} set={setOverlap} />
        </Form>
        <button type="button" class="quiet" onClick={() => setOpen(false)}>Not now</button>
      </Dialog>
    </>
  );
}

function Create({ tell }: { tell: (made: any) => void }) {
  const [name, setName] = useState('');
  const [scopes, setScopes] = useState<string[]>(['infer']);
  const [adapters, setAdapters] = useState('');
  const [more, setMore] = useState<Record<string, string>>({});
  const [wrong, setWrong] = useState<string | null>(null);
  const set = (field: string) => (text: string) => setMore((before) => ({ ...before, [field]: text }));
  const create = async () => {
    setWrong(null);
    const patterns = adapters.split(/[\s,]+/).filter(Boolean);
    const made = await act('POST', '/v1/keys', {
      name, scopes,
      ...(patterns.length ? { adapters: patterns } : {}),
      ...(more.identity ? { identity: more.identity } : {}),
      ...Object.fromEntries(Object.entries(more).filter(([field, text]) => text !== '' && field !== 'identity').map(([field, text]) => [field, numeric(text)])),
    });
    setName('');
    setMore({});
    tell(made);
  };
  return (
    <section>
      <h2>New key</h2>
      <Form submit="Create the key" run={create} disabled={!scopes.length} legend="New key" onFault={(error) => setWrong(error.param)}>
        <div class="row">
          <Field label="Name" value={name} set={setName} required wrong={wrong === 'name'} />
          <Field label="Adapters" hint="Names and patterns, such as team-a-*; every adapter where empty." value={adapters} set={setAdapters} wrong={wrong?.startsWith('adapters')} />
        </div>
        <fieldset class="choice"><legend>Scopes</legend>
          {SCOPES.map((scope) => <Check key={scope} label={scope} value={scopes.includes(scope)} set={(on) => setScopes(on ? [...scopes, scope] : scopes.filter((one) => one !== scope))} />)}
        </fieldset>
        <details><summary>Limits, weight, end</summary>
          <div class="grid">
            {LIMITS.map(([field, label]) => <Field key={field} label={label} type="number" min="1" value={more[field] ?? ''} set={set(field)} wrong={wrong === field} />)}
            <Field label="Weight" type="number" step="any" value={more.weight ?? ''} set={set('weight')} wrong={wrong === 'weight'} />
            <Field label="Expires in seconds" type="number" min="1" value={more.expires_in ?? ''} set={set('expires_in')} wrong={wrong === 'expires_in'} />
            <Field label="Certificate's holder" value={more.identity ?? ''} set={set('identity')} wrong={wrong === 'identity'} />
          </div>
        </details>
      </Form>
    </section>
  );
}

function Audit({ turn }: { turn: number }) {
  const [filter, setFilter] = useState({ object: '', action: '', who: '' });
  const [asked, setAsked] = useState(filter);
  const [before, setBefore] = useState<string[]>([]);
  const after = before.at(-1);
  const list = useLoad<any>((signal) => get('/v1/audit', { signal, query: { limit: 25, after, ...asked } }), [after, asked, turn]);
  const [state, setState] = useState<any>(null);
  return (
    <section>
      <h2>Audit</h2>
      <form class="row" aria-label="Search the audit" onSubmit={(event) => { event.preventDefault(); setBefore([]); setAsked(filter); }}>
        <Field label="Object" value={filter.object} set={(object) => setFilter({ ...filter, object })} />
        <Field label="Action" value={filter.action} set={(action) => setFilter({ ...filter, action })} placeholder="adapter.promote" />
        <Field label="Who" value={filter.who} set={(who) => setFilter({ ...filter, who })} />
        <button>Search</button>
      </form>
      <Act run={async () => setState(await get('/v1/audit/verify', { byHand: true }))}>Verify the audit</Act>
      {state && <p role="status"><Badge tone={state.intact ? 'good' : 'bad'}>{state.intact ? 'intact' : 'broken'}</Badge> {count(state.rows)} rows{state.why && `, ${state.why}`}{state.broken && ` at ${state.broken}`}</p>}
      <Fault error={list.error} retry={list.reload} />
      {list.value && <Table caption="Audit" rows={list.value.data as any[]} id={(row) => row.id} empty="Nothing was changed." columns={[
        { name: 'When', show: (row) => time(row.at) },
        { name: 'Who', show: (row) => row.who ?? '–' },
        { name: 'Action', show: (row) => row.action },
        { name: 'Object', show: (row) => row.object },
        { name: 'From', show: (row) => <code>{row.before?.slice(0, 8) ?? '–'}</code> },
        { name: 'To', show: (row) => <code>{row.after?.slice(0, 8) ?? '–'}</code> },
        { name: 'Detail', show: (row) => row.detail ?? '' },
        { name: 'Outcome', show: (row) => row.outcome },
      ]} />}
      {(before.length > 0 || list.value?.has_more) && (
        <nav class="pager" aria-label="Pages of the audit">
          <button type="button" disabled={!before.length} onClick={() => setBefore(before.slice(0, -1))}>Newer</button>
          <button type="button" disabled={!list.value?.has_more} onClick={() => setBefore([...before, list.value.last_id])}>Older</button>
        </nav>
      )}
    </section>
  );
}
