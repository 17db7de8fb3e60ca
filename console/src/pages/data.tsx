// Uploaded files, and the report on each.
import { act, get, segment } from '../api';
import { useState } from 'preact/hooks';
import { useLoad } from '../hooks';
import { Act, Confirm, Drop, Facts, Fault, Sent, Table } from '../ui';
import { bytes, time } from '../format';
import { ReportOf } from './report';

export interface Stored { id: string; filename: string; bytes: number; created_at: number }
export const listFiles = (signal?: AbortSignal, after?: string) => get<{ data: Stored[]; has_more: boolean; last_id: string }>('/v1/files', { signal, query: { limit: 100, after } });

export async function upload(file: File, sent: Sent): Promise<Stored> {
  const form = new FormData();
  form.append('purpose', 'fine-tune');
  form.append('file', file, file.name);
  return act('POST', '/v1/files', undefined, { body: form, sent });
}

export function Data({ file }: { file?: string }) {
  const [before, setBefore] = useState<string[]>([]);
  const list = useLoad((signal) => listFiles(signal, before.at(-1)), [before.at(-1)]);
  const [waiting, setWaiting] = useState<File | null>(null);
  const files = list.value?.data ?? [];
  if (file) return <One id={file} files={files} />;
  const send = async (chosen: File, sent: Sent) => {
    const stored = await upload(chosen, sent);
    location.hash = `#/data/${stored.id}`;
  };
  return (
    <>
      <h1>Data</h1>
      <p>Training files, and what is wrong with them: JSON Lines or a JSON array, also compressed with gzip, or Parquet.</p>
      <Drop label="Drop a training file here, or choose one" take={([first]) => setWaiting(first)} />
      {waiting && <p>{waiting.name}, {bytes(waiting.size)} <Act class="primary" run={(sent) => send(waiting, sent)}>Upload and check</Act></p>}
      <Fault error={list.error} retry={list.reload} />
      {list.value && <Table caption="Files" rows={files} id={(one) => one.id} empty="No file yet." columns={[
        { name: 'File', show: (one) => <a href={`#/data/${segment(one.id)}`}>{one.filename}</a> },
        { name: 'Id', show: (one) => <code>{one.id}</code> },
        { name: 'Size', show: (one) => bytes(one.bytes), right: true },
        { name: 'Uploaded', show: (one) => time(one.created_at) },
        { name: 'Do', show: (one) => <a href={`#/jobs/new/${segment(one.id)}`} aria-label={`Train on it: ${one.filename}`}>Train on it</a> },
      ]} />}
      {(before.length > 0 || list.value?.has_more) && (
        <nav class="pager" aria-label="Pages">
          <button type="button" disabled={!before.length} onClick={() => setBefore(before.slice(0, -1))}>Newer</button>
          <button type="button" disabled={!list.value?.has_more} onClick={() => setBefore([...before, list.value!.last_id])}>Older</button>
        </nav>
      )}
    </>
  );
}

function One({ id, files }: { id: string; files: Stored[] }) {
  const path = `/v1/files/${segment(id)}`;
  const found = useLoad<Stored>((signal) => get(path, { signal }), [id]);
  const file = found.value;
  return (
    <>
      <p class="crumbs"><a href="#/data">Data</a></p>
      <h1>{file?.filename ?? 'File'}</h1>
      <Fault error={found.error} retry={found.reload} />
      {file && (
        <>
          <Facts rows={[['Id', <code>{file.id}</code>], ['Size', bytes(file.bytes)], ['Uploaded', time(file.created_at)]]} />
          <div class="row acts">
            <a class="button primary" href={`#/jobs/new/${segment(id)}`}>Train on it</a>
            <Confirm name={file.filename} verb="Delete" about="The file is deleted. Jobs that have begun keep what they need." run={() => act('DELETE', path)} onDone={() => { location.hash = '#/data'; }} />
          </div>
          <h2>Report</h2>
          <ReportOf file={id} files={files} />
        </>
      )}
    </>
  );
}
