// What pages look up by themselves.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, onKey } from './api';

export interface Loaded<T> {
  value: T | null;
  error: Error | null;
  reload: () => void;
}

/** Loads, again when `deps` or the key change, when the tab is looked at again, and every `every` milliseconds while it is. */
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
    let missed = false;
    const look = async () => {
      missed = document.hidden;
      if (!missed) {
        try {
          const value = await latest.current(abort.signal);
          if (!abort.signal.aborted) setState({ value, error: null });
        } catch (error) {
          if (!abort.signal.aborted) setState((before) => ({ ...before, error: error as Error }));
        }
      }
      if (every && !abort.signal.aborted) timer = window.setTimeout(look, every);
    };
    const shown = () => {
      if (!missed || document.hidden) return;
      clearTimeout(timer);
      look();
    };
    document.addEventListener('visibilitychange', shown);
    look();
    return () => { abort.abort(); clearTimeout(timer); document.removeEventListener('visibilitychange', shown); };
  }, [...deps, turn, every]);
  return { ...state, reload };
}

/** Follows a stream of the daemon's while the tab is looked at, and takes it up again where it broke off. A tab that is hidden would
 * keep one of the few connections that a browser has for all of them. */
export function useStream(follow: (signal: AbortSignal) => Promise<void>, deps: unknown[], pause = 2000) {
  const latest = useRef(follow);
  latest.current = follow;
  useEffect(() => {
    let over = false;
    let timer = 0;
    let listening: AbortController | null = null;
    const listen = async () => {
      if (over || listening || document.hidden) return;
      const own = listening = new AbortController();
      try {
        await latest.current(own.signal);
        over ||= !own.signal.aborted;
      } catch (error) {
        // What is wrong is said by what loads beside this; what is refused is refused again.
        over ||= error instanceof ApiError && error.status >= 400 && error.status < 500;
        if (!over && !own.signal.aborted) timer = window.setTimeout(listen, pause);
      }
      if (listening === own) listening = null;
    };
    const shown = () => {
      clearTimeout(timer);
      if (document.hidden) { listening?.abort(); listening = null; } else listen();
    };
    document.addEventListener('visibilitychange', shown);
    listen();
    return () => { over = true; listening?.abort(); clearTimeout(timer); document.removeEventListener('visibilitychange', shown); };
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
