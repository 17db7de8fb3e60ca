// What pages look up by themselves.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { onKey } from './api';

export interface Loaded<T> {
  value: T | null;
  error: Error | null;
  reload: () => void;
}

/** Loads, again when `deps` or the key change, and every `every` milliseconds while the tab is visible. */
export function useLoad<T>(load: (signal: AbortSignal) => Promise<T>, deps: unknown[], every = 0): Loaded<T> {
  const [state, setState] = useState<{ value: T | null; error: Error | null }>({ value: null, error: null });
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  const reload = useCallback(() => setTurn((before) => before + 1), []);
  useEffect(() => onKey(reload), []);
  useEffect(() => setState({ value: null, error: null }), deps);
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const look = async () => {
      if (!document.hidden) {
        try {
          const value = await latest.current(abort.signal);
          if (!abort.signal.aborted) setState({ value, error: null });
        } catch (error) {
          if (!abort.signal.aborted) setState((before) => ({ ...before, error: error as Error }));
        }
      }
      if (every && !abort.signal.aborted) timer = window.setTimeout(look, every);
    };
    look();
    return () => { abort.abort(); clearTimeout(timer); };
  }, [...deps, turn, every]);
  return { ...state, reload };
}

/** Follows a stream of the daemon's while the page is open, and takes it up again where it broke off. */
export function useStream(follow: (signal: AbortSignal) => Promise<void>, deps: unknown[], pause = 2000) {
  const latest = useRef(follow);
  latest.current = follow;
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const listen = async () => {
      try {
        await latest.current(abort.signal);
      } catch {
        // What is wrong is said by what loads beside this.
        if (!abort.signal.aborted) timer = window.setTimeout(listen, pause);
      }
    };
    listen();
    return () => { abort.abort(); clearTimeout(timer); };
  }, deps);
}

/** State that outlives leaving the page, in this tab. */
const kept = new Map<string, unknown>();
export function useKept<T>(name: string, first: T): [T, (value: T | ((before: T) => T)) => void] {
  const [value, setValue] = useState<T>(kept.has(name) ? kept.get(name) as T : first);
  const set = useCallback((next: T | ((before: T) => T)) => setValue((before) => {
    const settled = typeof next === 'function' ? (next as (before: T) => T)(before) : next;
    kept.set(name, settled);
    return settled;
  }), [name]);
  return [value, set];
}
