// The frame around the pages: where one is, the key, the theme.
import { render } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { key, onKey, setAsker } from './api';
import { Dialog, Field } from './ui';
import { Playground } from './pages/playground';
import { Adapters } from './pages/adapters';
import { AdapterPage } from './pages/adapter';
import { Jobs } from './pages/jobs';
import { JobPage } from './pages/job';
import { NewJob } from './pages/create';
import { Data } from './pages/data';
import { Keys } from './pages/keys';
import { System } from './pages/system';
import './style.css';
import 'uplot/dist/uPlot.min.css';

const SECTIONS = [
  ['playground', 'Playground'],
  ['adapters', 'Adapters'],
  ['jobs', 'Jobs'],
  ['data', 'Data'],
  ['keys', 'Keys'],
  ['system', 'System'],
] as const;

/** `#/adapters/legal` as its parts. */
function place(): string[] {
  const parts = location.hash.replace(/^#\/?/, '').split('/').filter(Boolean);
  try {
    return parts.map(decodeURIComponent);
  } catch {
    return parts;
  }
}

function Page({ at }: { at: string[] }) {
  const [section, item] = at;
  switch (section) {
    case undefined:
    case 'playground': return <Playground wanted={item} />;
    case 'adapters': return item ? <AdapterPage name={item} key={item} /> : <Adapters />;
    case 'jobs': return item === 'new' ? <NewJob file={at[2]} /> : item ? <JobPage id={item} key={item} /> : <Jobs />;
    case 'data': return <Data file={item} key={item} />;
    case 'keys': return <Keys />;
    case 'system': return <System />;
    default: return <><h1>Not found</h1><p>There is no page called {section}. <a href="#/">Playground</a></p></>;
  }
}

const THEMES = ['auto', 'light', 'dark'] as const;
const NAMES = { auto: 'Auto', light: 'Light', dark: 'Dark' };

function Theme() {
  const [theme, setTheme] = useState(localStorage.getItem('adapterd-theme') ?? 'auto');
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem('adapterd-theme', theme);
  }, [theme]);
  const next = THEMES[(THEMES.indexOf(theme as 'auto') + 1) % THEMES.length];
  return <button type="button" class="quiet" onClick={() => setTheme(next)} aria-label={`${NAMES[theme as 'auto'] ?? NAMES.auto} theme, switch to ${next}`}>{NAMES[theme as 'auto'] ?? NAMES.auto} theme</button>;
}

function KeyBox() {
  const [has, setHas] = useState(key.get() !== '');
  const [why, setWhy] = useState<string | null>(null);
  const [typed, setTyped] = useState('');
  const answer = useRef<((given: boolean) => void) | null>(null);
  useEffect(() => onKey(() => setHas(key.get() !== '')), []);
  useEffect(() => {
    setAsker((reason) => new Promise((done) => {
      answer.current = done;
      setWhy(reason);
    }));
    return () => setAsker(null);
  }, []);
  const close = (given: boolean) => {
    setWhy(null);
    setTyped('');
    const done = answer.current;
    answer.current = null;
    done?.(given);
  };
  return (
    <>
      {has
        ? <button type="button" class="quiet" onClick={key.forget}>Forget the key</button>
        : <button type="button" class="quiet" onClick={() => setWhy('')}>Enter a key</button>}
      <Dialog title="Key" open={why !== null} close={() => close(false)}>
        {why && <p class="fault" role="alert">{why}</p>}
        <p>The key is kept in this tab until it is closed, and sent to this daemon alone.</p>
        <form class="form" onSubmit={(event) => {
          event.preventDefault();
          if (!typed.trim()) return;
          key.set(typed.trim());
          close(true);
        }}>
          <Field label="API key" type="password" value={typed} set={setTyped} required />
          <div class="act"><button class="primary">Use it</button><button type="button" onClick={() => close(false)}>Not now</button></div>
        </form>
      </Dialog>
    </>
  );
}

function App() {
  const [at, setAt] = useState(place());
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    const moved = () => {
      setAt(place());
      scrollTo(0, 0);
      main.current?.focus({ preventScroll: true });
    };
    addEventListener('hashchange', moved);
    return () => removeEventListener('hashchange', moved);
  }, []);
  const section = at[0] ?? 'playground';
  const title = SECTIONS.find(([name]) => name === section)?.[1] ?? 'Not found';
  useEffect(() => { document.title = `${at[1] ? `${at[1]} · ` : ''}${title} · adapterd`; }, [at]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); main.current?.focus(); }}>Skip to the content</a>
      <header>
        <a class="brand" href="#/"><img src="/console/icon.svg" alt="" width="22" height="22" /> adapterd</a>
        <nav aria-label="Pages">
          {SECTIONS.map(([name, text]) => <a key={name} href={`#/${name}`} aria-current={name === section ? 'page' : undefined}>{text}</a>)}
        </nav>
        <div class="tools"><KeyBox /><Theme /></div>
      </header>
      <main id="main" tabIndex={-1} ref={main}><Page at={at} /></main>
    </>
  );
}

render(<App />, document.getElementById('app')!);
