// One job: its curves while it runs, its log, and what became of it.
import { useRef, useState } from 'preact/hooks';
import { act, get, segment, send, told } from '../api';
import { useLoad, useStream } from '../hooks';
import { Act, Facts, Fault, Generation, Table } from '../ui';
import { Chart } from '../chart';
import { count, number, percent, span, time } from '../format';
import { Job, Status, isLive } from './jobs';
import { Adapter } from './adapters';
import { CanaryForm } from './route';

interface Event { id: string; created_at: number; level: string; message: string; data: any }

/** Events come in bursts; the job itself is asked for at most this often. */
const PACE = 500;
/** What no event tells: the steps between two of them. */
const EVERY = 10_000;

const place = (event: Event) => Number(event.id.replace(/\D/g, ''));

export function JobPage({ id }: { id: string }) {
  const known = useRef(new Map<string, Event>());
  const path = `/v1/fine_tuning/jobs/${segment(id)}`;
  const [turn, setTurn] = useState(0);
  const loading = useRef(false);
  const found = useLoad(async (signal) => {
    loading.current = true;
    const job = await get<Job>(path, { signal }).finally(() => { loading.current = false; });
    const events = [...known.current.values()].sort((one, other) => place(one) - place(other));
    return { job, events };
  }, [id], EVERY);
  useStream(async (signal) => {
    const newest = [...known.current.values()].reduce<Event | null>((last, event) => last && place(last) > place(event) ? last : event, null);
    let due = 0;
    const look = () => {
      due ||= window.setTimeout(() => {
        due = 0;
        if (signal.aborted) return;
        // Beginning again would end the one that is under way.
        if (loading.current) look();
        else found.reload();
      }, PACE);
    };
    for await (const event of told(await send(`${path}/events`, { signal, query: { stream: 'true', after: newest?.id } }))) {
      known.current.set(event.id, event);
      look();
    }
    look();
  }, [id, turn]);
  if (!found.value) return <><h1>Job</h1><Fault error={found.error} retry={found.reload} />{!found.error && <p role="status">Loading…</p>}</>;
  const { job, events } = found.value;
  const { adapterd: progress } = job;
  const series = (field: string) => new Map(events.filter((event) => typeof event.data?.[field] === 'number').map((event) => [event.data.step, event.data[field]] as [number, number]));
  const train = series('train_loss');
  const held = series('valid_loss');
  const speed = series('tokens_per_second');
  const rate = series('learning_rate');
  const margin = new Map(events.filter((event) => event.data?.rewards).map((event) => [event.data.step, event.data.rewards.margin] as [number, number]));
  const last = (points: Map<number, number>) => points.size ? points.get(Math.max(...points.keys())) : null;
  const summary = events.findLast((event) => event.data?.examples)?.data;
  const again = () => { setTurn((before) => before + 1); found.reload(); };
  return (
    <>
      <p class="crumbs"><a href="#/jobs">Jobs</a></p>
      <h1>{progress.name} <Status of={job.status} /></h1>
      <Fault error={found.error} retry={found.reload} />
      {job.error.message && <p class="fault" role="alert">{job.error.message}</p>}
      <p><progress class="wide" value={progress.step} max={progress.total_steps || 1} aria-label="Steps" /> step {progress.step} of {progress.total_steps}
        {isLive(job) && job.estimated_finish && <>, about {span(Math.max(0, job.estimated_finish - Date.now() / 1000))} left</>}</p>
      <Facts rows={[
        ['Loss', number(last(train) ?? progress.train_loss)],
        ['Held-out loss', number(last(held))],
        ['Learning rate', number(last(rate), 3)],
        ['Tokens a second', count(last(speed) === null ? null : Math.round(last(speed)!))],
        ['Trained tokens', count(job.trained_tokens)],
        ['Method', `${progress.recipe.method}, ${progress.recipe.objective}`],
        ['Parameters', progress.parameters ? `${count(progress.parameters.trainable)} of ${count(progress.parameters.all)}` : '–'],
        ['Began', time(job.created_at)],
        ['Ended', time(job.finished_at)],
        ['Data', <a href={`#/data/${job.training_file}`}>{job.training_file}</a>],
      ]} />
      <div class="row acts">
        {(isLive(job)) && <Act run={() => act('POST', `${path}/pause`, {})} onDone={again}>Pause</Act>}
        {(job.status === 'paused' || job.status === 'failed') && <Act run={() => act('POST', `${path}/resume`, {})} onDone={again}>Resume</Act>}
        {(isLive(job) || job.status === 'paused') && <Act class="danger" run={() => act('POST', `${path}/cancel`, {})} onDone={again}>Cancel the job</Act>}
      </div>
      <div class="charts">
        <Chart title="Loss" lines={[{ name: 'train', points: train, tone: 'one' }, { name: 'held-out', points: held, tone: 'two' }]} />
        {margin.size > 0 && <Chart title="Reward margin" lines={[{ name: 'margin', points: margin, tone: 'one' }]} />}
        <Chart title="Learning rate" lines={[{ name: 'rate', points: rate, tone: 'one' }]} />
        <Chart title="Tokens a second" lines={[{ name: 'tokens', points: speed, tone: 'one' }]} />
      </div>
      {summary && <Outcome of={summary} />}
      {job.status === 'succeeded' && <Result job={job} />}
      <h2>Log</h2>
      <ol class="log" tabIndex={0} aria-label="Log, newest first">
        {events.slice(-300).reverse().map((event) => <li key={event.id} class={event.level}><time>{time(event.created_at)}</time> {event.message}</li>)}
      </ol>
      <details><summary>Every setting</summary><Facts rows={Object.entries(progress.recipe).map(([name, value]) => [name, String(value === null ? '–' : typeof value === 'object' ? JSON.stringify(value) : value)])} /></details>
    </>
  );
}

function Outcome({ of }: { of: any }) {
  const rows = ([['Before', of.before], ['After', of.after]] as [string, any][]).filter(([, value]) => value);
  return (
    <>
      <h2>Held-out rows</h2>
      {of.withheld && <p class="fault">Kept and not served: {of.withheld}</p>}
      {rows.length > 0 && <Table caption="Before and after" rows={rows} id={([name]) => name} columns={[
        { name: '', show: ([name]) => name },
        { name: 'Loss', show: ([, value]) => number(value.loss), right: true },
        { name: 'Accuracy', show: ([, value]) => percent(value.accuracy), right: true },
      ]} />}
      {of.examples.length > 0 && <Table caption="Some of the rows" rows={of.examples as any[]} id={(_, at) => at} columns={[
        { name: 'Prompt', show: (row) => <pre>{row.prompt}</pre> },
        { name: 'Expected', show: (row) => <pre>{row.expected}</pre> },
        { name: 'Before', show: (row) => <pre>{row.before}</pre> },
        { name: 'After', show: (row) => <pre>{row.after}</pre> },
      ]} />}
    </>
  );
}

/** What was made, where it stands, and the way into canary. */
function Result({ job }: { job: Job }) {
  const { name, generation } = job.adapterd;
  const path = `/v1/adapters/${segment(name)}`;
  const found = useLoad<Adapter>((signal) => get(path, { signal }), [name, generation]);
  const adapter = found.value;
  return (
    <>
      <h2>Result</h2>
      <p><a href={`#/adapters/${segment(name)}`}>{name}</a>, generation <Generation of={generation} />
        {adapter && (adapter.route.stable === generation ? ' is what the name answers with.' : adapter.route.canary?.generation === generation ? ` is in canary for ${adapter.route.canary.percent} % of the requests.` : ' is kept and not served by the name.')}
        {' '}<a href={`#/playground/${segment(generation ? `${name}@${generation.slice(0, 16)}` : name)}`}>Try it</a></p>
      <Fault error={found.error} retry={found.reload} />
      {adapter && generation && adapter.route.stable !== generation && adapter.generations.includes(generation)
        && <CanaryForm path={path} seen={{ expected_generation: adapter.generation }} route={adapter.route} generations={adapter.generations} first={generation} done={found.reload} />}
    </>
  );
}
