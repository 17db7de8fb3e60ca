// One adapter: its generations, which of them answer, how good they are, and what can be done with them.
import { act, get, segment } from '../api';
import { useLoad } from '../hooks';
import { Act, Badge, Confirm, Facts, Fault, Generation, Table } from '../ui';
import { bytes, number, percent, time } from '../format';
import { Adapter } from './adapters';
import { CanaryForm, RouteView } from './route';

export function AdapterPage({ name }: { name: string }) {
  const path = `/v1/adapters/${segment(name)}`;
  const found = useLoad<Adapter>((signal) => get(path, { signal }), [name], 4000);
  const adapter = found.value;
  if (!adapter) return <><h1>{name}</h1><Fault error={found.error} retry={found.reload} />{!found.error && <p>Loading…</p>}</>;
  // What is done holds for what is seen here: if the name is elsewhere by now, nothing changes and the server says so.
  const seen = { expected_generation: adapter.generation };
  const post = (verb: string, more: object = {}) => () => act('POST', `${path}/${verb}`, { ...seen, ...more });
  const { route } = adapter;
  const roles = (generation: string) => (
    <>
      {generation === route.stable && <Badge tone="good">stable</Badge>}
      {generation === route.canary?.generation && <Badge tone="warn">canary {route.canary.percent} %</Badge>}
      {generation === route.shadow?.generation && <Badge>shadow {route.shadow.percent} %</Badge>}
      {generation === adapter.previous_generation && <Badge>before</Badge>}
    </>
  );
  return (
    <>
      <p class="crumbs"><a href="#/adapters">Adapters</a></p>
      <h1>{name}</h1>
      <Fault error={found.error} retry={found.reload} />
      <Facts rows={[
        ['Generation', <Generation of={adapter.generation} />],
        ['Kind', `${adapter.kind}${adapter.rank ? `, rank ${adapter.rank}` : ''}`],
        ['Tier', <>{adapter.tier} {adapter.pinned && <Badge>pinned</Badge>}</>],
        ['Size', bytes(adapter.bytes)],
        ['Source', adapter.source],
        ['Base', adapter.base],
        ['Since', time(adapter.created_at)],
      ]} />
      <div class="row acts">
        <a class="button" href={`#/playground/${segment(name)}`}>Try it</a>
        <Act run={post('rollback')} onDone={found.reload} disabled={!adapter.previous_generation}>Roll back</Act>
        <Act run={post(adapter.pinned ? 'unpin' : 'pin')} onDone={found.reload}>{adapter.pinned ? 'Unpin' : 'Pin'}</Act>
        <Act run={post(adapter.tier === 'resident' ? 'unload' : 'load')} onDone={found.reload}>{adapter.tier === 'resident' ? 'Unload' : 'Load'}</Act>
        <Confirm name={name} verb="Delete" about="The name and all its generations are taken away; requests that run finish." onDone={() => { location.hash = '#/adapters'; }}
          run={() => act('DELETE', path, undefined, { query: seen })} />
      </div>
      <h2>Generations</h2>
      <Table caption={`Generations of ${name}`} rows={adapter.generations} id={(generation) => generation} columns={[
        { name: 'Generation', show: (generation) => <Generation of={generation} /> },
        { name: 'Role', show: roles },
        { name: 'Do', show: (generation) => (
          <div class="row tight">
            {generation !== route.stable && <Act run={post('promote', { generation })} onDone={found.reload} label={`Promote ${generation.slice(0, 8)}`}>Promote</Act>}
            <a href={`#/playground/${segment(`${name}@${generation.slice(0, 16)}`)}`} aria-label={`Try ${generation.slice(0, 8)}`}>Try</a>
          </div>
        ) },
      ]} />
      <h2>Route</h2>
      <RouteView route={route} path={path} seen={seen} done={found.reload} />
      {adapter.generations.length > 1
        ? <CanaryForm path={path} seen={seen} route={route} generations={adapter.generations} done={found.reload} />
        : <p class="hint">A canary or a shadow needs another generation: upload one under this name, or train one, and do not publish it at once.</p>}
      {adapter.evaluation && <Evaluation of={adapter.evaluation} />}
    </>
  );
}

function Evaluation({ of }: { of: any }) {
  const rows = [['Base', of.base], ['Parent', of.parent], ['This adapter', of.adapter]].filter(([, value]) => value) as [string, any][];
  return (
    <>
      <h2>Evaluation</h2>
      <p>On {of.rows} held-out rows, when it was made.</p>
      <Table caption="Evaluation" rows={rows} id={([name]) => name} columns={[
        { name: 'Answered by', show: ([name]) => name },
        { name: 'Loss', show: ([, value]) => number(value.loss), right: true },
        { name: 'Accuracy', show: ([, value]) => percent(value.accuracy), right: true },
      ]} />
    </>
  );
}
