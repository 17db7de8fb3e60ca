// Two adapters answer the same prompt side by side.
import { useEffect, useRef, useState } from 'preact/hooks';
import { events, get, key } from '../api';
import { useKept, useLoad } from '../hooks';
import { Act, Badge, Check, Copy, Fault, Field, Generation } from '../ui';
import { number, numeric, percent, span } from '../format';
import { Token, Tokens } from './tokens';

interface Settings {
  max_tokens: string; temperature: string; top_p: string; top_k: string; min_p: string; seed: string;
  presence_penalty: string; frequency_penalty: string; repetition_penalty: string; stop: string; schema: string;
}
const PLAIN: Settings = {
  max_tokens: '128', temperature: '0', top_p: '', top_k: '', min_p: '', seed: '', presence_penalty: '', frequency_penalty: '',
  repetition_penalty: '', stop: '', schema: '',
};
const NUMBERS: [keyof Settings, string, string][] = [
  ['max_tokens', 'Most tokens', '1'],
  ['temperature', 'Temperature', '0.1'],
  ['top_p', 'Top p', '0.05'],
  ['top_k', 'Top k', '1'],
  ['min_p', 'Min p', '0.05'],
  ['seed', 'Seed', '1'],
  ['presence_penalty', 'Presence penalty', '0.1'],
  ['frequency_penalty', 'Frequency penalty', '0.1'],
  ['repetition_penalty', 'Repetition penalty', '0.1'],
];

interface Message { role: string; content: string }
interface Answer {
  tokens: Token[]; text: string; generation: string | null; finish: string | null; first: number | null; took: number; answered: number | null; prompt: number | null;
}
const EMPTY: Answer = { tokens: [], text: '', generation: null, finish: null, first: null, took: 0, answered: null, prompt: null };

interface Side { adapter: string; answer: Answer | null; error: Error | null; busy: boolean; history: Message[] }
const side = (adapter: string): Side => ({ adapter, answer: null, error: null, busy: false, history: [] });

/** What a request says beside its adapter and prompt. */
function shared(settings: Settings, probabilities: boolean, isChat: boolean): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  for (const [name] of NUMBERS) body[name] = numeric(settings[name]);
  const stop = settings.stop.split('\n').filter(Boolean);
  if (stop.length) body.stop = stop;
  if (settings.schema.trim()) {
    let schema: unknown;
    try {
      schema = JSON.parse(settings.schema);
    } catch (fault) {
      throw new Error(`The schema is no JSON: ${(fault as Error).message}`);
    }
    body.response_format = { type: 'json_schema', json_schema: { name: 'answer', schema } };
  }
  if (probabilities) Object.assign(body, isChat ? { logprobs: true, top_logprobs: 5 } : { logprobs: 5 });
  return body;
}

const PATHS = { chat: '/v1/chat/completions', text: '/v1/completions' };

export function Playground({ wanted }: { wanted?: string }) {
  const models = useLoad<{ data: { id: string; parent: string | null }[] }>((signal) => get('/v1/models', { signal }), []);
  const base = models.value?.data.find((model) => model.parent === null)?.id ?? '';
  const names = models.value?.data.map((model) => model.id) ?? [];
  const [mode, setMode] = useKept<'chat' | 'text'>('mode', 'chat');
  const [system, setSystem] = useKept('system', '');
  const [prompt, setPrompt] = useKept('prompt', '');
  const [settings, setSettings] = useKept<Settings>('settings', PLAIN);
  const [keeps, setKeeps] = useKept('keeps', false);
  const [probabilities, setProbabilities] = useKept('probabilities', true);
  const [sides, setSides] = useKept<Side[]>('sides', [side(''), side('')]);
  const abort = useRef<AbortController | null>(null);
  const change = (at: number, part: Partial<Side>) => setSides((before) => before.map((one, index) => index === at ? { ...one, ...part } : one));

  // The first look compares the base with an adapter, or with the one that was asked for.
  useEffect(() => {
    if (!models.value) return;
    setSides((before) => before.map((one, at) => {
      if (at === 1 && wanted) return { ...one, adapter: wanted };
      return one.adapter ? one : { ...one, adapter: at === 0 ? base : names.find((name) => name !== base) ?? '' };
    }));
  }, [models.value, wanted]);
  useEffect(() => () => {
    abort.current?.abort();
    setSides((before) => before.map((one) => ({ ...one, busy: false })));
  }, []);

  const body = (one: Side, stream: boolean) => {
    const isChat = mode === 'chat';
    const said = keeps ? one.history : [];
    const messages = [...(system.trim() ? [{ role: 'system', content: system }] : []), ...said, { role: 'user', content: prompt }];
    return {
      // Beside names, `adapter` takes generations, checkpoints and blends.
      ...(one.adapter && one.adapter !== base ? { adapter: one.adapter } : { model: base }),
      ...(isChat ? { messages } : { prompt }),
      ...shared(settings, probabilities, isChat),
      ...(stream ? { stream: true, stream_options: { include_usage: true } } : {}),
    };
  };

  const ask = async (at: number, signal: AbortSignal) => {
    const one = sides[at];
    const began = performance.now();
    const answer = { ...EMPTY };
    let drawn = 0;
    change(at, { busy: true, error: null, answer });
    const draw = (now = false) => {
      // A fast answer is drawn at the screen's pace, not at its own.
      if (now || performance.now() - drawn > 40) {
        drawn = performance.now();
        change(at, { answer: { ...answer, took: (drawn - began) / 1000 } });
      }
    };
    try {
      for await (const event of events(PATHS[mode], body(one, true), signal)) {
        const choice = event.choices?.[0];
        if (event.adapter_generation) answer.generation = event.adapter_generation;
        if (event.usage) Object.assign(answer, { answered: event.usage.completion_tokens, prompt: event.usage.prompt_tokens });
        if (choice) {
          const text = choice.delta?.content ?? choice.text ?? '';
          if (text && answer.first === null) answer.first = (performance.now() - began) / 1000;
          answer.text += text;
          answer.tokens = answer.tokens.concat(tokensOf(choice));
          answer.finish = choice.finish_reason ?? answer.finish;
        }
        draw();
      }
      draw(true);
      const said = [{ role: 'user', content: prompt }, { role: 'assistant', content: answer.text }];
      setSides((before) => before.map((other, index) => index === at ? { ...other, busy: false, history: keeps ? [...other.history, ...said] : [] } : other));
    } catch (fault) {
      draw(true);
      const stopped = (fault as Error).name === 'AbortError';
      change(at, { busy: false, error: stopped ? null : fault as Error, ...(stopped ? { answer: { ...answer, finish: 'stopped', took: (performance.now() - began) / 1000 } } : {}) });
    }
  };
  const [refused, setRefused] = useState<Error | null>(null);
  const start = () => {
    setRefused(null);
    try {
      shared(settings, probabilities, mode === 'chat');
    } catch (fault) {
      setRefused(fault as Error);
      return;
    }
    abort.current = new AbortController();
    sides.forEach((one, at) => { if (one.adapter) ask(at, abort.current!.signal); });
  };
  const busy = sides.some((one) => one.busy);
  const curl = (one: Side) => {
    const quoted = JSON.stringify(body(one, false), null, 2).replaceAll("'", `'\\''`);
    const secret = key.get() ? ` \\\n  -H "authorization: Bearer $ADAPTERD_KEY"` : '';
    return `curl ${location.origin}${PATHS[mode]}${secret} \\\n  -H 'content-type: application/json' \\\n  -d '${quoted}'`;
  };

  return (
    <>
      <h1>Playground</h1>
      <Fault error={models.error} retry={models.reload} />
      <form class="ask" noValidate onSubmit={(event) => { event.preventDefault(); if (busy) abort.current?.abort(); else start(); }}>
        <div class="row">
          <fieldset class="choice"><legend>Prompt as</legend>
            {(['chat', 'text'] as const).map((one) => (
              <label key={one}><input type="radio" name="mode" checked={mode === one} onChange={() => setMode(one)} /> {one === 'chat' ? 'a conversation' : 'plain text'}</label>
            ))}
          </fieldset>
          <Check label="Token probabilities" value={probabilities} set={setProbabilities} />
          {mode === 'chat' && <Check label="Keep the conversation" value={keeps} set={setKeeps} />}
        </div>
        {mode === 'chat' && <details open={system !== ''}><summary>System message</summary><Field label="System message" rows={2} value={system} set={setSystem} /></details>}
        <Field label="Prompt" rows={4} value={prompt} set={setPrompt} required />
        <details class="settings"><summary>Sampling, stop, schema</summary>
          <div class="grid">
            {NUMBERS.map(([name, label, step]) => (
              <Field key={name} label={label} type="number" step={step === '1' ? '1' : 'any'} value={settings[name]} set={(text) => setSettings((before) => ({ ...before, [name]: text }))} />
            ))}
          </div>
          <div class="pair">
            <Field label="Stop at" hint="One text a line." rows={3} value={settings.stop} set={(stop) => setSettings((before) => ({ ...before, stop }))} />
            <Field label="JSON schema of the answer" hint="Empty: any text." rows={3} value={settings.schema} set={(schema) => setSettings((before) => ({ ...before, schema }))} />
          </div>
        </details>
        <div class="act">
          {/* One button, so that the focus stays; and one way to press it, since stopping makes it `Send` before the press is over. */}
          <button class="primary" disabled={!sides.some((one) => one.adapter)}>{busy ? 'Stop' : 'Send'}</button>
          {sides.some((one) => one.history.length > 0) && <button type="button" disabled={busy} onClick={() => setSides((before) => before.map((one) => ({ ...one, history: [], answer: null })))}>New conversation</button>}
          <Fault error={refused} />
        </div>
      </form>
      <div class="sides">
        {sides.map((one, at) => (
          <section key={at} class="side" aria-label={`Answer ${at === 0 ? 'A' : 'B'}`}>
            <Field label={`Adapter ${at === 0 ? 'A' : 'B'}`} value={one.adapter} suggest={names.slice(0, 400)} hint="A name, name@GENERATION, a blend such as a=0.7,b=0.3, or the base."
              set={(adapter) => change(at, { adapter, history: [] })} />
            {keeps && one.history.length > 0 && <Conversation said={one.answer && !one.busy ? one.history.slice(0, -2) : one.history} />}
            <Shown one={one} probabilities={probabilities} />
            <div class="act"><Copy text={() => curl(one)}>Copy as curl</Copy>
              {one.busy && <Badge>answering</Badge>}
              {!busy && one.error && <Act run={() => { abort.current = new AbortController(); return ask(at, abort.current.signal); }}>Ask {at === 0 ? 'A' : 'B'} again</Act>}
            </div>
          </section>
        ))}
      </div>
    </>
  );
}

function tokensOf(choice: any): Token[] {
  const chat = choice.logprobs?.content;
  if (chat) return chat.map((one: any) => ({ text: one.token, logprob: one.logprob, top: one.top_logprobs.map((top: any) => [top.token, top.logprob]) }));
  const plain = choice.logprobs;
  if (!plain?.tokens) return [];
  return plain.tokens.map((text: string, at: number) => ({
    text, logprob: plain.token_logprobs[at], top: Object.entries(plain.top_logprobs?.[at] ?? {}).sort((one: any, other: any) => other[1] - one[1]) as [string, number][],
  }));
}

function Conversation({ said }: { said: Message[] }) {
  return <ol class="said-before">{said.map((message, at) => <li key={at} class={message.role}><b>{message.role === 'user' ? 'You' : 'Answer'}</b> {message.content}</li>)}</ol>;
}

function Shown({ one, probabilities }: { one: Side; probabilities: boolean }) {
  const { answer } = one;
  return (
    <>
      <div class="answer" aria-busy={one.busy}>
        {answer && (probabilities && answer.tokens.length > 0 ? <Tokens tokens={answer.tokens} done={!one.busy} /> : <p class="text" tabIndex={0} role="region" aria-label="Answer">{answer.text}</p>)}
        {!answer && !one.error && <p class="empty">No answer yet.</p>}
      </div>
      <Fault error={one.error} />
      {answer && (answer.first !== null || answer.finish) && (
        <p class="numbers" role="status">
          {one.busy ? 'answering' : `ended: ${answer.finish ?? 'cut off'}`} · generation <Generation of={answer.generation} /> · first token {span(answer.first)}
          {answer.answered !== null && <> · {answer.answered} tokens, {number(answer.answered / Math.max(answer.took, 1e-3), 3)} a second · prompt {answer.prompt} tokens</>}
          {answer.tokens.length > 0 && <> · mean probability {percent(Math.exp(answer.tokens.reduce((sum, token) => sum + token.logprob, 0) / answer.tokens.length))}</>}
        </p>
      )}
    </>
  );
}
