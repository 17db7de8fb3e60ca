// Which generations answer for a name: its canary, its shadow, what was counted of them, and what a policy makes of it.
import { useState } from 'preact/hooks';
import { act } from '../api';
import { Act, Badge, Facts, Field, Form, Generation, Table } from '../ui';
import { count, number, numeric, percent, span, time } from '../format';
import { Route } from './adapters';

interface Props { path: string; seen: object; route: Route; done: () => void }

const COUNTS: [string, string, (value: any) => string][] = [
  ['requests', 'Requests', count],
  ['error_rate', 'Errors', percent],
  ['first_token_p50', 'First token, median', span],
  ['first_token_p95', 'First token, p95', span],
  ['duration_p50', 'Answer, median', span],
  ['duration_p95', 'Answer, p95', span],
  ['feedback', 'Scores', count],
  ['mean_score', 'Mean score', (value) => number(value, 3)],
  ['heldout_loss', 'Held-out loss', (value) => number(value)],
];

export function RouteView({ route, path, seen, done }: Props) {
  const { canary, shadow, counts, verdict } = route;
  const policy = Object.entries(canary?.policy ?? {}).filter(([, value]) => value !== null);
  return (
    <>
      {!canary && !shadow && <p>All requests are answered by the stable generation, <Generation of={route.stable} />.</p>}
      {canary && (
        <section class="card" aria-label="Canary">
          <h3>Canary <Generation of={canary.generation} /></h3>
          <p>Answers {canary.percent} % of the requests by {canary.sticky} since {time(canary.since)}.
            {policy.length > 0 && <> Policy: {policy.map(([name, value]) => `${name.replaceAll('_', ' ')} ${value}`).join(', ')}.</>}</p>
          {verdict && <p><Badge tone={verdict.decision === 'abort' ? 'bad' : verdict.decision === 'promote' ? 'good' : ''}>{verdict.decision}</Badge> {verdict.why} ({span(verdict.elapsed_seconds)} so far)</p>}
          {counts && (
            <Table caption="Stable and canary" rows={COUNTS.filter(([name]) => (counts.stable?.[name] ?? counts.canary?.[name] ?? null) !== null)} id={([name]) => name} columns={[
              { name: '', show: ([, label]) => label },
              { name: 'Stable', show: ([name, , shown]) => shown(counts.stable?.[name]), right: true },
              { name: 'Canary', show: ([name, , shown]) => shown(counts.canary?.[name]), right: true },
            ]} />
          )}
          <div class="row">
            <Act class="primary" run={() => act('POST', `${path}/canary/promote`, seen)} onDone={done}>Promote the canary</Act>
            <Act run={() => act('POST', `${path}/canary/abort`, seen)} onDone={done}>Give it up</Act>
          </div>
        </section>
      )}
      {shadow && (
        <section class="card" aria-label="Shadow">
          <h3>Shadow <Generation of={shadow.generation} /></h3>
          <p>Answers {shadow.percent} % of the requests once more, unheard, since {time(shadow.since)}.</p>
          {counts?.shadow && <Facts rows={[
            ['Compared', count(counts.shadow.compared)],
            ['Dropped', count(counts.shadow.dropped)],
            ['Failed', count(counts.shadow.failed)],
            ['Same answer', percent(counts.shadow.equal_rate)],
            ['Tokens to change', percent(counts.shadow.mean_edit_distance)],
            ['Mean log-probability', number(counts.shadow.mean_logprob)],
          ]} />}
          <Act run={() => act('POST', `${path}/shadow/stop`, seen)} onDone={done}>Stop the shadow</Act>
        </section>
      )}
    </>
  );
}

const POLICY: [string, string, string][] = [
  ['min_requests', 'Judge after requests', '100 where empty'],
  ['max_error_rate', 'Largest share of errors', '0.02 is 2 %'],
  ['max_latency_ratio', 'Latency over stable at most', '1.5 is half as slow again'],
  ['max_heldout_loss_ratio', 'Held-out loss over stable at most', '1.05 allows 5 % more'],
  ['min_feedback', 'Judge after scores', '20 where empty'],
  ['min_score_ratio', 'Mean score over stable at least', '0.95 allows 5 % less'],
  ['promote_after', 'Promote after seconds', 'Never where empty'],
];

export function CanaryForm({ path, seen, route, generations, done, first }: Props & { generations: string[]; first?: string }) {
  const others = generations.filter((generation) => generation !== route.stable);
  const [chosen, setChosen] = useState(first ?? '');
  const generation = others.includes(chosen) ? chosen : route.canary?.generation ?? others[0] ?? '';
  const [share, setShare] = useState('10');
  const [as, setAs] = useState('canary');
  const [sticky, setSticky] = useState('request');
  const [policy, setPolicy] = useState<Record<string, string>>({});
  const [wrong, setWrong] = useState<string | null>(null);
  if (!others.length) return null;
  const run = () => {
    setWrong(null);
    const asked = Object.fromEntries(Object.entries(policy).filter(([, text]) => text !== '').map(([name, text]) => [name, numeric(text)]));
    const more = as === 'canary' ? { sticky, ...(Object.keys(asked).length ? { policy: asked } : {}) } : {};
    return act('POST', `${path}/${as}`, { ...seen, generation, percent: numeric(share), ...more });
  };
  return (
    <section class="card">
      <h3>{route.canary || route.shadow ? 'Change the route' : 'Let another generation answer'}</h3>
      <Form submit={as === 'canary' ? 'Put into canary' : 'Begin the shadow'} run={run} onDone={done} onFault={(error) => setWrong(error.param)} legend="Canary or shadow">
        <div class="row">
          <Field label="As" value={as} set={setAs} options={[['canary', 'a canary, which answers'], ['shadow', 'a shadow, unheard']]} />
          <Field label="Generation" value={generation} set={setChosen} options={others.map((one) => [one, one.slice(0, 16)] as const)} />
          <Field label="Percent of requests" type="number" min="0" max="100" step="0.01" value={share} set={setShare} wrong={wrong === 'percent'} required />
          {as === 'canary' && <Field label="Drawn by" value={sticky} set={setSticky} options={[['request', 'request'], ['caller', 'caller']]} />}
        </div>
        {as === 'canary' && (
          <details><summary>Policy: when it ends by itself</summary>
            <div class="grid">
              {POLICY.map(([name, label, hint]) => <Field key={name} label={label} hint={hint} type="number" step="any" value={policy[name] ?? ''} wrong={wrong === `policy.${name}`}
                set={(text) => setPolicy((before) => ({ ...before, [name]: text }))} />)}
            </div>
          </details>
        )}
      </Form>
    </section>
  );
}
