// An answer token by token: how likely each was, and what else might have stood there.
import { useRef, useState } from 'preact/hooks';
import { Bars } from '../ui';
import { percent } from '../format';

export interface Token { text: string; logprob: number; top: [string, number][] }

const visible = (text: string) => text.replaceAll('\n', '⏎').replaceAll('\t', '⇥').replaceAll(' ', '␣') || '∅';

/** Five shades, from sure to surprised. */
const shade = (logprob: number) => {
  const p = Math.exp(logprob);
  return p > 0.9 ? 'p4' : p > 0.6 ? 'p3' : p > 0.3 ? 'p2' : p > 0.1 ? 'p1' : 'p0';
};

export function Tokens({ tokens, done }: { tokens: Token[]; done: boolean }) {
  const [at, setAt] = useState(-1);
  const group = useRef<HTMLDivElement>(null);
  const shown = tokens[at];
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(tokens.length - 1, Math.max(at, 0) + step));
    (group.current?.children[next] as HTMLElement | undefined)?.focus();
  };
  return (
    <>
      <div class="tokens" ref={group} role="group" aria-label="Answer by tokens; arrow keys move" onKeyDown={move}>
        {tokens.map((token, index) => (
          <button key={index} type="button" class={`token ${shade(token.logprob)}`} tabIndex={index === Math.max(at, 0) ? 0 : -1}
            aria-label={`${visible(token.text)}, ${percent(Math.exp(token.logprob))}`} aria-pressed={index === at}
            onFocus={() => setAt(index)} onMouseEnter={() => setAt(index)} onClick={() => setAt(index)}>{token.text}</button>
        ))}
      </div>
      {shown ? (
        <div class="alternatives">
          <p><code>{visible(shown.text)}</code> had {percent(Math.exp(shown.logprob))}. Most likely here:</p>
          <Bars label={`Alternatives to ${visible(shown.text)}`} rows={shown.top.map(([text, logprob]) => ({ name: visible(text), value: Math.exp(logprob), text: percent(Math.exp(logprob)) }))} />
        </div>
      ) : done && <p class="hint">Point at a token, or move to it with the arrow keys, to see what else might have stood there.</p>}
    </>
  );
}
