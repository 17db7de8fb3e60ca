// What is in a training file, and what is wrong with it.
import { useState } from 'preact/hooks';
import { get, segment } from '../api';
import { useLoad } from '../hooks';
import { Badge, Bars, Facts, Fault, Field, Table } from '../ui';
import { count, number, percent } from '../format';

const tone = (severity: string) => severity === 'error' ? 'bad' : severity === 'warning' ? 'warn' : '';

/** Asks for the report of a file, again where `label` or what is held out changes. */
export function ReportOf({ file, files = [] }: { file: string; files?: { id: string; filename: string }[] }) {
  const [label, setLabel] = useState('');
  const [heldOut, setHeldOut] = useState('');
  const [split, setSplit] = useState('');
  const [asked, setAsked] = useState({});
  const report = useLoad<any>((signal) => get(`/v1/files/${segment(file)}/report`, { signal, query: asked }), [file, asked]);
  return (
    <>
      <form class="row" noValidate onSubmit={(event) => { event.preventDefault(); setAsked({ label, held_out: heldOut, eval_split: split }); }}>
        <Field label="Class in field" value={label} set={setLabel} placeholder="label" />
        <Field label="Held-out file" value={heldOut} set={setHeldOut} options={[['', 'none'], ...files.filter((one) => one.id !== file).map((one) => [one.id, one.filename] as const)]} />
        <Field label="Share to hold out" type="number" step="any" min="0" value={split} set={setSplit} />
        <button>Look again</button>
      </form>
      <Fault error={report.error} retry={report.reload} />
      {!report.value && !report.error && <p role="status">Reading the file…</p>}
      {report.value && <Report of={report.value} />}
    </>
  );
}

export function Report({ of }: { of: any }) {
  const { lengths, bad_rows: bad, near_duplicates: copies, conflicts, leakage } = of;
  return (
    <section aria-label="Data report" class="report">
      <p role="status"><Badge tone={of.usable ? 'good' : 'bad'}>{of.usable ? 'usable' : 'a job would refuse it'}</Badge> {count(of.rows)} rows{of.findings.length === 0 && ', and nothing was found to be wrong'}</p>
      {of.findings.map((finding: any) => (
        <article class={`card ${tone(finding.severity)}`} key={finding.code}>
          <h3><Badge tone={tone(finding.severity)}>{finding.severity}</Badge> {finding.says}</h3>
          <p>{count(finding.count)} {finding.count === 1 ? 'row' : 'rows'} ({percent(finding.share)}){finding.lines?.length > 0 && <>, {finding.lines.length === 1 ? 'line' : 'lines'} {finding.lines.join(', ')}{finding.count > finding.lines.length && ' …'}</>}</p>
          {finding.examples?.length > 0 && <ul>{finding.examples.map((example: any, at: number) => <li key={at}><b>{example.line}</b> <code>{example.text}</code></li>)}</ul>}
          {finding.advice && <p class="hint">{finding.advice}</p>}
        </article>
      ))}
      {bad.total > 0 && (
        <>
          <h3>Bad rows</h3>
          <Table caption="Bad rows" rows={bad.first as any[]} id={(row) => row.line} columns={[{ name: 'Line', show: (row) => row.line, right: true }, { name: 'Why', show: (row) => row.why }]} />
          {bad.total > bad.first.length && <p>and {count(bad.total - bad.first.length)} more</p>}
        </>
      )}
      <div class="plots">
        <div>
          <h3>Lengths</h3>
          <Facts rows={[['Median', `${number(lengths.median)} ${lengths.unit}`], ['p95', number(lengths.p95)], ['Longest', number(lengths.longest)], ['Total', count(lengths.total)], ...(lengths.limit ? [[`Above ${lengths.limit}`, count(lengths.over)] as [string, string]] : [])]} />
          <Bars label={`Rows by ${lengths.unit}`} rows={lengths.histogram.map(([from, to, rows]: number[]) => ({ name: `${from}–${to}`, value: rows }))} />
        </div>
        <div>
          <h3>Tasks</h3>
          <Bars label="Rows by task" rows={of.tasks.largest.slice(0, 10).map((task: any) => ({ name: task.task || 'without an instruction', value: task.rows }))} />
        </div>
        {of.classes.map((balance: any, at: number) => (
          <div key={at}>
            <h3>Balance of {balance.field ?? balance.task ?? 'answers'}</h3>
            <Bars label="Rows by class" rows={balance.largest.slice(0, 12).map((one: any) => ({ name: one.name, value: one.rows }))} />
            {balance.ratio !== null && <p class="hint">The most frequent is {number(balance.ratio, 3)} times as frequent as the rarest.</p>}
          </div>
        ))}
        <div>
          <h3>Forms and languages</h3>
          <Bars label="Rows by form" rows={Object.entries(of.kinds as Record<string, number>).map(([name, value]) => ({ name, value }))} />
          {of.languages.length > 0 && <Bars label="Rows by language" rows={of.languages.map((one: any) => ({ name: one.name, value: one.rows }))} />}
        </div>
      </div>
      <h3>Repeated and contradicting</h3>
      <Facts rows={[
        ['Copies', `${count(copies.rows)} rows (${percent(copies.share)}), ${count(copies.exact)} exact`],
        ['Conflicts', `${count(conflicts.questions)} questions with different answers, ${count(conflicts.rows)} rows`],
        ...(leakage ? [['Held out and trained on', `${count(leakage.rows)} of ${count(leakage.held_out_rows)} rows`] as [string, string]] : []),
      ]} />
      {copies.groups.length > 0 && <Table caption="Groups of copies" rows={copies.groups as any[]} id={(_, at) => at} columns={[
        { name: 'Rows', show: (group) => count(group.rows), right: true },
        { name: 'Likeness', show: (group) => percent(group.likeness, 0), right: true },
        { name: 'Lines', show: (group) => group.lines.join(', ') },
      ]} />}
      {conflicts.groups.length > 0 && <Table caption="Conflicting answers" rows={conflicts.groups as number[][]} id={(_, at) => at} columns={[{ name: 'Lines of one question', show: (lines) => (Array.isArray(lines) ? lines : (lines as any).lines).join(', ') }]} />}
      {of.warnings.length > 0 && <><h3>Also</h3><ul>{of.warnings.map((said: string) => <li key={said}>{said}</li>)}</ul></>}
      {of.bounds.length > 0 && <p class="hint">{of.bounds.join(' ')}</p>}
    </section>
  );
}
