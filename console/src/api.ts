// How the page speaks to the daemon: one function for JSON, one for streams. The key lives in this tab alone.

export class ApiError extends Error {
  constructor(readonly status: number, message: string, readonly param: string | null = null, readonly code: string | null = null) {
    super(message);
  }
}

const KEY = 'adapterd-key';

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? '',
  set: (text: string) => { sessionStorage.setItem(KEY, text); changed(); },
  forget: () => { sessionStorage.removeItem(KEY); changed(); },
};

const listeners = new Set<() => void>();
const changed = () => listeners.forEach((listen) => listen());

/** Called whenever the key has changed. */
export function onKey(listen: () => void) {
  listeners.add(listen);
  return () => { listeners.delete(listen); };
}

// The dialog that asks for a key registers itself here; without it, a 401 is an error like any other.
type Asker = (why: string) => Promise<boolean>;
let asker: Asker | null = null;
let asking: Promise<boolean> | null = null;
let declined = false;
export const setAsker = (ask: Asker | null) => { asker = ask; };

function askKey(why: string, byHand: boolean): Promise<boolean> {
  // Whoever closed the dialog is not asked again by what the page looks up by itself.
  if (!asker || (declined && !byHand)) return Promise.resolve(false);
  asking ??= asker(why).then((given) => {
    declined = !given;
    asking = null;
    return given;
  });
  return asking;
}

export interface Ask {
  method?: string;
  json?: unknown;
  body?: BodyInit;
  type?: string;
  query?: Record<string, string | number | undefined | null>;
  signal?: AbortSignal;
  /** Somebody pressed a button for this. */
  byHand?: boolean;
  /** Told how much of the body has gone out, from 0 to 1. */
  sent?: (share: number) => void;
}

function target(path: string, query: Ask['query']): string {
  const pairs = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return pairs.length ? `${path}?${new URLSearchParams(pairs.map(([name, value]) => [name, String(value)]))}` : path;
}

async function failure(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => '');
  try {
    const { error } = JSON.parse(text);
    if (typeof error?.message === 'string') return new ApiError(response.status, error.message, error.param, error.code);
  } catch { /* not of the daemon: something between here and there answered */ }
  return new ApiError(response.status, `${response.status} ${response.statusText} ${text.slice(0, 200)}`.trim());
}

/** `fetch` says nothing while a body goes out, so large ones go this way. */
function sendSlowly(to: string, headers: Record<string, string>, ask: Ask, sent: (share: number) => void): Promise<Response> {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    sent(0);
    request.open(ask.method ?? 'GET', to);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => { if (event.lengthComputable) sent(event.loaded / event.total); };
    request.onload = () => done(new Response(request.responseText, { status: request.status, statusText: request.statusText }));
    request.onerror = () => failed(new TypeError('no answer'));
    request.onabort = () => failed(new DOMException('stopped', 'AbortError'));
    ask.signal?.addEventListener('abort', () => request.abort());
    request.send(ask.body as XMLHttpRequestBodyInit);
  });
}

export async function send(path: string, ask: Ask = {}): Promise<Response> {
  for (;;) {
    const headers: Record<string, string> = { accept: 'application/json' };
    const used = key.get();
    if (used) headers.authorization = `Bearer ${used}`;
    if (ask.json !== undefined) headers['content-type'] = 'application/json';
    else if (ask.type) headers['content-type'] = ask.type;
    let response: Response;
    try {
      const to = target(path, ask.query);
      response = ask.sent ? await sendSlowly(to, headers, ask, ask.sent) : await fetch(to, {
        method: ask.method ?? 'GET',
        headers,
        body: ask.json !== undefined ? JSON.stringify(ask.json) : ask.body,
        signal: ask.signal,
        cache: 'no-store',
      });
    } catch (fault) {
      if ((fault as Error).name === 'AbortError') throw fault;
      throw new ApiError(0, 'The daemon did not answer. It may have stopped, or the connection to it is gone.');
    }
    if (response.ok) return response;
    const error = await failure(response);
    const isNew = key.get() !== used;
    if (error.status === 401 && (isNew || await askKey(error.message, ask.byHand ?? false))) continue;
    throw error;
  }
}

export const get = async <T = any>(path: string, ask: Ask = {}): Promise<T> => (await send(path, ask)).json();

export const act = async <T = any>(method: string, path: string, json?: unknown, ask: Ask = {}): Promise<T> =>
  (await send(path, { ...ask, method, json, byHand: true })).json();

/** What a POST streams: see `told`. */
export async function* events(path: string, json: unknown, signal: AbortSignal): AsyncGenerator<any> {
  yield* told(await send(path, { method: 'POST', json, signal, byHand: true }));
}

/** The `data:` lines of a stream of server-sent events, up to `[DONE]`. */
export async function* told(response: Response): AsyncGenerator<any> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new ApiError(0, 'The stream broke off before its end.');
    rest += value;
    let end;
    while ((end = rest.indexOf('\n')) >= 0) {
      const line = rest.slice(0, end).trimEnd();
      rest = rest.slice(end + 1);
      if (!line.startsWith('data:')) continue;
      const data = line.slice(5).trim();
      if (data === '[DONE]') return;
      const event = JSON.parse(data);
      if (event.error) throw new ApiError(event.error.status ?? 500, event.error.message, event.error.param, event.error.code);
      yield event;
    }
  }
}

export const segment = encodeURIComponent;
