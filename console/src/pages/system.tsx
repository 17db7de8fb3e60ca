// How the daemon is: health, key/value cache, tiers, queue, memory by part.
import { ApiError, get, send } from '../api';
import { useLoad } from '../hooks';
import { Badge, Bars, Facts, Fault, Table } from '../ui';
import { bytes, count, percent, span } from '../format';
import { Metrics, parse } from '../metrics';

const EVERY = 2000;
const HEALTH: [string, string][] = [['Engine', '/livez'], ['Takes requests', '/readyz'], ['Started', '/startupz']];

export function System() {
  const health = useLoad(async (signal) => Promise.all(HEALTH.map(async ([name, path]) => {
    try {
      await get(path, { signal });
      return { name, ok: true, why: '' };
    } catch (fault) {
      if (!(fault instanceof ApiError)) throw fault;
      return { name, ok: false, why: fault.message };
    }
  })), [], EVERY);
  const metrics = useLoad(async (signal) => new Metrics(parse(await (await send('/metrics', { signal })).text())), [], EVERY);
  const models = useLoad<{ data: any[] }>((signal) => get('/v1/models', { signal }), []);
  const document = useLoad<any>((signal) => get('/openapi.json', { signal }), []);
  const base = models.value?.data.find((model) => model.parent === null);
  return (
    <>
      <h1>System</h1>
      <Fault error={health.error} retry={health.reload} />
      <div class="row" role="status">
        {health.value?.map((one) => <span key={one.name}>{one.name}: <Badge tone={one.ok ? 'good' : 'bad'}>{one.ok ? 'ok' : one.why}</Badge></span>)}
      </div>
      <Facts rows={[
        ['Version', document.value?.info.version ?? '–'],
        ['Base', base?.id ?? '–'],
        ['Context', base ? `${count(base.max_model_len)} tokens` : '–'],
        ['Adapters', models.value ? count(models.value.data.length - 1) : '–'],
      ]} />
      <Fault error={models.error ?? document.error} />
      <Fault error={metrics.error} retry={metrics.reload} />
      {metrics.value && <Measured of={metrics.value} />}
      <p><a href="/docs">The HTTP interface</a> · <a href="/console/LICENSES.txt">Licences of what this page is made of</a></p>
    </>
  );
}

function Measured({ of }: { of: Metrics }) {
  const kv = Object.fromEntries(of.of('adapterd_kv_blocks').map((one) => [one.labels.state, one.value]));
  const blocks = Object.values(kv).reduce((sum, value) => sum + value, 0);
  const tiers = new Map<string, number>();
  for (const one of of.of('adapterd_adapter_loaded')) if (one.value > 0) tiers.set(one.labels.tier, (tiers.get(one.labels.tier) ?? 0) + 1);
  const memory = of.of('adapterd_memory_bytes').map((one) => ({ name: one.labels.part, value: one.value, text: bytes(one.value) })).sort((one, other) => other.value - one.value);
  const jobs = of.of('adapterd_jobs').map((one) => ({ name: one.labels.state.replaceAll('_', ' '), value: one.value }));
  const requests = of.of('adapterd_requests_total').sort((one, other) => other.value - one.value).slice(0, 20);
  const asked = of.value('adapterd_prefix_cache_queries_tokens_total');
  return (
    <>
      <Facts rows={[
        ['Running', count(of.value('vllm:num_requests_running'))],
        ['Waiting', count(of.value('vllm:num_requests_waiting'))],
        ['Queue', count(of.value('adapterd_queue_depth'))],
        ['Cache in use', blocks ? percent((kv.used ?? 0) / blocks) : '–'],
        ['Prompt tokens from the cache', asked ? percent((of.value('adapterd_prefix_cache_hits_tokens_total') ?? 0) / asked) : '–'],
        ['First token, median', span(of.quantile('adapterd_time_to_first_token_seconds', 0.5))],
        ['First token, p95', span(of.quantile('adapterd_time_to_first_token_seconds', 0.95))],
        ['Between tokens, median', span(of.quantile('adapterd_inter_token_latency_seconds', 0.5))],
        ['Process memory', bytes(of.value('process_resident_memory_bytes'))],
        ['Share of training', percent(of.value('adapterd_train_share'))],
      ]} />
      <div class="plots">
        <div><h2>Memory by part</h2><Bars label="Memory by part" rows={memory} /></div>
        <div><h2>Key/value blocks</h2><Bars label="Key/value blocks" rows={Object.entries(kv).map(([name, value]) => ({ name, value }))} /></div>
        <div><h2>Adapters by tier</h2><Bars label="Adapters by tier" rows={[...tiers].map(([name, value]) => ({ name, value }))} /></div>
        <div><h2>Jobs</h2><Bars label="Jobs by state" rows={jobs} /></div>
      </div>
      <h2>Requests</h2>
      <Table caption="Requests by route" rows={requests} id={(one) => `${one.labels.route} ${one.labels.code}`} columns={[
        { name: 'Route', show: (one) => <code>{one.labels.route}</code> },
        { name: 'Status', show: (one) => one.labels.code },
        { name: 'Answered', show: (one) => count(one.value), right: true },
      ]} />
    </>
  );
}
