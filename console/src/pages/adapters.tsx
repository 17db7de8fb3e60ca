// Every adapter, and a way to bring one.
import { useState } from 'preact/hooks';
import { act, get, segment } from '../api';
import { useKept, useLoad } from '../hooks';
import { Badge, Drop, Fault, Field, Form, Generation, Sent, Table, usePages } from '../ui';
import { bytes, time } from '../format';

export interface Adapter {
  id: string; generation: string; previous_generation: string | null; generations: string[]; kind: string; rank: number; bytes: number; tier: string; pinned: boolean;
  created_at: number; base: string; source: string; evaluation: any; route: Route;
}
export interface Route { stable: string; canary?: any; shadow?: any; counts?: any; verdict?: any }

export function Adapters() {
  const list = useLoad<{ data: Adapter[] }>((signal) => get('/v1/adapters', { signal }), []);
  const [search, setSearch] = useKept('adapters-search', '');
  const [kind, setKind] = useKept('adapters-kind', '');
  const [tier, setTier] = useKept('adapters-tier', '');
  const all = list.value?.data ?? [];
  const kinds = [...new Set(all.map((one) => one.kind))].sort();
  const tiers = [...new Set(all.map((one) => one.tier))].sort();
  const wanted = search.toLowerCase();
  const rows = all.filter((one) => (!kind || one.kind === kind) && (!tier || one.tier === tier)
    && (!wanted || one.id.toLowerCase().includes(wanted) || one.generation.startsWith(wanted) || one.source.toLowerCase().includes(wanted)));
  const { shown, pager } = usePages(rows, 50);
  return (
    <>
      <h1>Adapters</h1>
      <Fault error={list.error} retry={list.reload} />
      <div class="row filters" role="search">
        <Field label="Search" type="search" value={search} set={setSearch} placeholder="Name, generation or source" />
        <Field label="Kind" value={kind} set={setKind} options={[['', 'all'], ...kinds]} />
        <Field label="Tier" value={tier} set={setTier} options={[['', 'all'], ...tiers]} />
      </div>
      <p role="status">{list.value ? `${rows.length} of ${all.length} adapters` : list.error ? '' : 'Loading…'}</p>
      {list.value && <Table caption="Adapters" rows={shown} id={(one) => one.id} empty="No adapter is called so." columns={[
        { name: 'Name', show: (one) => <a href={`#/adapters/${segment(one.id)}`}>{one.id}</a> },
        { name: 'Kind', show: (one) => one.kind },
        { name: 'Rank', show: (one) => one.rank || '–', right: true },
        { name: 'Tier', show: (one) => <>{one.tier}{one.pinned && <> <Badge>pinned</Badge></>}</> },
        { name: 'Generation', show: (one) => <><Generation of={one.generation} />{one.generations.length > 1 && ` of ${one.generations.length}`}</> },
        { name: 'Route', show: (one) => <>{one.route.canary && <Badge tone="warn">canary {one.route.canary.percent} %</Badge>} {one.route.shadow && <Badge>shadow {one.route.shadow.percent} %</Badge>}</> },
        { name: 'Size', show: (one) => bytes(one.bytes), right: true },
        { name: 'Since', show: (one) => time(one.created_at) },
      ]} />}
      {pager}
      <Upload done={list.reload} names={all.map((one) => one.id)} />
    </>
  );
}

const ARCHIVE = /\.(tar|tar\.gz|tgz)$/i;

function Upload({ done, names }: { done: () => void; names: string[] }) {
  const [name, setName] = useState('');
  const [publish, setPublish] = useState('now');
  const [share, setShare] = useState('10');
  const [files, setFiles] = useState<File[]>([]);
  const [made, setMade] = useState<string | null>(null);
  const take = (chosen: File[]) => {
    setMade(null);
    setFiles(chosen);
    const path = chosen[0].webkitRelativePath.split('/')[0] || chosen[0].name.replace(ARCHIVE, '');
    if (!name && !/^adapter_/.test(path)) setName(path.toLowerCase().replace(/[^a-z0-9._-]+/g, '-'));
  };
  const send = async (sent: Sent) => {
    const query = { publish: publish === 'canary' ? `canary:${share}` : publish };
    const path = `/v1/adapters/${segment(name)}`;
    if (files.length === 1 && ARCHIVE.test(files[0].name)) {
      await act('PUT', path, undefined, { body: files[0], type: 'application/x-tar', query, sent });
    } else {
      const form = new FormData();
      for (const file of files) form.append('files', file, file.name);
      await act('PUT', path, undefined, { body: form, query, sent });
    }
    setMade(name);
    setFiles([]);
    done();
  };
  return (
    <section>
      <h2>Upload</h2>
      <p>A folder as PEFT or AdapterHub's library writes it, its files, or a tar archive of it.</p>
      <div class="pair">
        <Drop label="Drop a tar archive or the files of an adapter, or choose them" multiple take={take} />
        <Drop label="Or choose a folder" folder take={take} />
      </div>
      {files.length > 0 && <p role="status">{files.length} {files.length === 1 ? 'file' : 'files'}: {files.slice(0, 6).map((file) => `${file.name} (${bytes(file.size)})`).join(', ')}{files.length > 6 && ' …'}</p>}
      <Form submit="Upload" run={send} disabled={!files.length || !name} legend="Upload an adapter">
        <div class="row">
          <Field label="Name" value={name} set={setName} required hint={names.includes(name) ? 'The name exists: it gets another generation.' : undefined} />
          <Field label="Publish" value={publish} set={setPublish} options={[['now', 'now: the name moves to it'], ['canary', 'as a canary'], ['manual', 'kept, not served']]} />
          {publish === 'canary' && <Field label="Percent of requests" type="number" min="0" max="100" step="0.01" value={share} set={setShare} />}
        </div>
      </Form>
      {made && <p role="status">Uploaded: <a href={`#/adapters/${segment(made)}`}>{made}</a></p>}
    </section>
  );
}
