// Fine-tuning jobs, newest first.
import { useState } from 'preact/hooks';
import { get } from '../api';
import { useLoad } from '../hooks';
import { Badge, Fault, Table } from '../ui';
import { number, span, time } from '../format';

export interface Job {
  id: string; created_at: number; finished_at: number | null; estimated_finish: number | null; model: string; fine_tuned_model: string | null; status: string;
  training_file: string; validation_file: string | null; trained_tokens: number | null; error: { message: string | null };
  adapterd: { name: string; generation: string | null; published: boolean; step: number; total_steps: number; train_loss: number | null; parameters: any; recipe: any };
}
interface Page { data: Job[]; has_more: boolean; last_id: string | null }

const LIVE = ['validating_files', 'queued', 'running'];
export const isLive = (job: Job) => LIVE.includes(job.status);
const tone = (status: string) => status === 'succeeded' ? 'good' : status === 'failed' ? 'bad' : LIVE.includes(status) ? 'warn' : '';
export const Status = ({ of }: { of: string }) => <Badge tone={tone(of)}>{of.replaceAll('_', ' ')}</Badge>;

const SIZE = 25;

export function Jobs() {
  // The first job of each page behind the first; the newest page is looked up again while it is visible.
  const [before, setBefore] = useState<string[]>([]);
  const after = before.at(-1);
  const list = useLoad<Page>((signal) => get('/v1/fine_tuning/jobs', { signal, query: { limit: SIZE, after } }), [after], after ? 0 : 3000);
  const page = list.value;
  return (
    <>
      <h1>Jobs</h1>
      <p><a class="button primary" href="#/jobs/new">New job from a file</a></p>
      <Fault error={list.error} retry={list.reload} />
      {!page && !list.error && <p role="status">Loading…</p>}
      {page && <Table caption="Jobs" rows={page.data} id={(job) => job.id} empty="No job yet." columns={[
        { name: 'Adapter', show: (job) => <a href={`#/jobs/${job.id}`}>{job.adapterd.name}</a> },
        { name: 'Status', show: (job) => <Status of={job.status} /> },
        { name: 'Steps', show: (job) => <><progress value={job.adapterd.step} max={job.adapterd.total_steps || 1} aria-label={`Steps of ${job.adapterd.name}`} /> {job.adapterd.step}/{job.adapterd.total_steps}</> },
        { name: 'Loss', show: (job) => number(job.adapterd.train_loss), right: true },
        { name: 'Method', show: (job) => `${job.adapterd.recipe.method}, ${job.adapterd.recipe.objective}` },
        { name: 'Began', show: (job) => time(job.created_at) },
        { name: 'Ends', show: (job) => job.finished_at ? time(job.finished_at) : job.estimated_finish ? `in ${span(Math.max(0, job.estimated_finish - Date.now() / 1000))}` : '–' },
      ]} />}
      {(before.length > 0 || page?.has_more) && (
        <nav class="pager" aria-label="Pages">
          <button type="button" disabled={!before.length} onClick={() => setBefore(before.slice(0, -1))}>Newer</button>
          <button type="button" disabled={!page?.has_more} onClick={() => setBefore([...before, page!.last_id!])}>Older</button>
        </nav>
      )}
    </>
  );
}
