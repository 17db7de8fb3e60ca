// Parts that several pages use.
import { ComponentChildren } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { ApiError } from './api';

/** What went wrong, in the server's words. */
export function Fault({ error, retry }: { error: Error | null; retry?: () => void }) {
  if (!error) return null;
  return (
    <p class="fault" role="alert">
      {error.message} {retry && <button type="button" class="quiet" onClick={retry}>Try again</button>}
    </p>
  );
}

/** Told how much of an upload has gone out, from 0 to 1. */
export type Sent = (share: number) => void;
type Run = (sent: Sent) => Promise<unknown>;

interface ActProps {
  /** What it does; an error of it is shown beside the button, and so is how far its upload is. */
  run: Run;
  children: ComponentChildren;
  class?: string;
  disabled?: boolean;
  label?: string;
  onDone?: () => void;
  onFault?: (error: ApiError) => void;
}

export function useAct(run: Run, onDone?: () => void, onFault?: (error: ApiError) => void) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<Error | null>(null);
  const [sent, setSent] = useState<number | null>(null);
  const start = async () => {
    if (busy) return;
    setBusy(true);
    setError(null);
    try {
      await run(setSent);
      onDone?.();
    } catch (fault) {
      setError(fault as Error);
      onFault?.(fault as ApiError);
    } finally {
      setBusy(false);
      setSent(null);
    }
  };
  return { busy, error, sent, start };
}

/** How far an upload is; when all of it has gone out, the daemon is reading it. */
function Sending({ sent }: { sent: number | null }) {
  if (sent === null) return null;
  return <span class="act"><progress value={sent} aria-label="Upload" /> {sent < 1 ? `${Math.floor(sent * 100)} % sent` : 'sent, the daemon is looking at it'}</span>;
}

export function Act({ run, children, disabled, label, onDone, onFault, ...rest }: ActProps) {
  const { busy, error, sent, start } = useAct(run, onDone, onFault);
  return (
    <span class="act">
      {/* Not `disabled` while it runs: that would take the focus from who came by the keyboard. */}
      <button type="button" class={rest.class} disabled={disabled} aria-disabled={busy} aria-label={label} aria-busy={busy} onClick={start}>{children}</button>
      <Sending sent={sent} />
      <Fault error={error} />
    </span>
  );
}

interface FormProps extends Omit<ActProps, 'children'> {
  submit: string;
  children: ComponentChildren;
  legend?: string;
}

/** A form that keeps what was typed when it is refused. The daemon judges what is in it, not the browser. */
export function Form({ run, submit, children, disabled, onDone, onFault, legend, ...rest }: FormProps) {
  const { busy, error, sent, start } = useAct(run, onDone, onFault);
  return (
    <form class={rest.class ?? 'form'} aria-label={legend} noValidate onSubmit={(event) => { event.preventDefault(); start(); }}>
      {children}
      <div class="act"><button class="primary" disabled={disabled} aria-disabled={busy} aria-busy={busy}>{submit}</button><Sending sent={sent} /><Fault error={error} /></div>
    </form>
  );
}

interface FieldProps {
  label: string;
  hint?: string;
  value: string | number;
  set: (text: string) => void;
  type?: string;
  rows?: number;
  options?: readonly (string | readonly [string, string])[];
  suggest?: string[];
  wrong?: boolean;
  class?: string;
  required?: boolean;
  placeholder?: string;
  step?: string;
  min?: string;
  max?: string;
}

export function Field({ label, hint, value, set, type = 'text', rows, options, suggest, wrong, ...rest }: FieldProps) {
  const id = useId();
  const shared = {
    id,
    value,
    'aria-describedby': hint ? `${id}-hint` : undefined,
    'aria-invalid': wrong || undefined,
    required: rest.required,
    placeholder: rest.placeholder,
  };
  const read = (event: Event) => set((event.currentTarget as HTMLInputElement).value);
  return (
    <div class={`field ${rest.class ?? ''}`}>
      <label for={id}>{label}</label>
      {options ? (
        <select {...shared} onChange={read}>
          {options.map((option) => {
            const [name, text] = typeof option === 'string' ? [option, option] : option;
            return <option value={name} key={name}>{text}</option>;
          })}
        </select>
      ) : rows ? <textarea {...shared} rows={rows} spellcheck={false} onInput={read} />
        : <input {...shared} type={type} step={rest.step} min={rest.min} max={rest.max} autocomplete="off" spellcheck={false}
            list={suggest ? `${id}-list` : undefined} onInput={read} />}
      {suggest && <datalist id={`${id}-list`}>{suggest.map((name) => <option value={name} key={name} />)}</datalist>}
      {hint && <small id={`${id}-hint`}>{hint}</small>}
    </div>
  );
}

export function Check({ label, value, set }: { label: string; value: boolean; set: (on: boolean) => void }) {
  return (
    <label class="check">
      <input type="checkbox" checked={value} onChange={(event) => set(event.currentTarget.checked)} /> {label}
    </label>
  );
}

export function Copy({ text, children = 'Copy' }: { text: string | (() => string); children?: ComponentChildren }) {
  const [said, setSaid] = useState('');
  const copy = async () => {
    const wanted = typeof text === 'string' ? text : text();
    try {
      await navigator.clipboard.writeText(wanted);
      setSaid('Copied');
    } catch {
      // Pages that came without TLS from another machine have no clipboard of this kind.
      const area = document.createElement('textarea');
      area.value = wanted;
      document.body.append(area);
      area.select();
      setSaid(document.execCommand('copy') ? 'Copied' : 'The browser does not allow it');
      area.remove();
    }
    setTimeout(() => setSaid(''), 2000);
  };
  return <span class="act"><button type="button" onClick={copy}>{children}</button><span role="status" class="said">{said}</span></span>;
}

/** A dialog of the browser's own: it holds the focus and closes with Escape. */
export function Dialog({ title, open, close, children }: { title: string; open: boolean; close: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const shown = dialog.current;
    if (open && shown && !shown.open) shown.showModal();
    if (!open && shown?.open) shown.close();
  }, [open]);
  if (!open) return null;
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={close}>
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  );
}

/** Something that cannot be undone: its name is typed first. */
export function Confirm({ name, verb, run, onDone, about }: { name: string; verb: string; run: () => Promise<unknown>; onDone: () => void; about: string }) {
  const [open, setOpen] = useState(false);
  const [typed, setTyped] = useState('');
  const close = () => { setOpen(false); setTyped(''); };
  return (
    <>
      <button type="button" class="danger" onClick={() => setOpen(true)}>{verb}…</button>
      <Dialog title={`${verb} ${name}?`} open={open} close={close}>
        <p>{about}</p>
        <Form submit={verb} run={run} disabled={typed !== name} onDone={() => { close(); onDone(); }}>
          <Field label={`Type ${name} to confirm`} value={typed} set={setTyped} />
        </Form>
        <button type="button" class="quiet" onClick={close}>Keep it</button>
      </Dialog>
    </>
  );
}

export interface Column<T> {
  name: string;
  show: (row: T) => ComponentChildren;
  right?: boolean;
}

export function Table<T>({ caption, columns, rows, id, empty }: { caption: string; columns: Column<T>[]; rows: T[]; id: (row: T, at: number) => string | number; empty?: string }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table>
        <caption class="hidden">{caption}</caption>
        <thead><tr>{columns.map((column) => <th scope="col" class={column.right ? 'right' : ''} key={column.name}>{column.name}</th>)}</tr></thead>
        <tbody>
          {rows.map((row, at) => (
            <tr key={id(row, at)}>{columns.map((column) => <td class={column.right ? 'right' : ''} key={column.name}>{column.show(row)}</td>)}</tr>
          ))}
          {rows.length === 0 && <tr><td colSpan={columns.length} class="empty">{empty ?? 'None.'}</td></tr>}
        </tbody>
      </table>
    </div>
  );
}

/** Shares as bars, each with its number in words. */
export function Bars({ label, rows }: { label: string; rows: { name: string; value: number; text?: string }[] }) {
  const most = Math.max(...rows.map((row) => row.value), 0) || 1;
  return (
    <ul class="bars" aria-label={label}>
      {rows.map((row, at) => (
        <li key={at}>
          <span class="bar-name" title={row.name}>{row.name}</span>
          <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect width={(row.value / most) * 100} height="10" /></svg>
          <span class="bar-value">{row.text ?? row.value.toLocaleString('en-US')}</span>
        </li>
      ))}
    </ul>
  );
}

export function Facts({ rows }: { rows: [string, ComponentChildren][] }) {
  return <dl class="facts">{rows.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
}

export const Badge = ({ children, tone = '' }: { children: ComponentChildren; tone?: string }) => <span class={`badge ${tone}`}>{children}</span>;

export const Generation = ({ of }: { of: string | null | undefined }) =>
  of ? <code title={of}>{of.slice(0, 8)}</code> : <span>–</span>;

/** Where files are dropped or chosen. */
export function Drop({ label, take, multiple, folder, accept }: { label: string; take: (files: File[]) => void; multiple?: boolean; folder?: boolean; accept?: string }) {
  const [over, setOver] = useState(false);
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => { if (folder) input.current?.setAttribute('webkitdirectory', ''); }, [folder]);
  const drop = async (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    const items = [...event.dataTransfer?.items ?? []].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry !== null && entry !== undefined);
    const nested = await Promise.all(items.map((entry) => filesOf(entry!)));
    const files = items.length ? nested.flat() : [...event.dataTransfer?.files ?? []];
    if (files.length) take(files);
  };
  return (
    <div class={`drop ${over ? 'over' : ''}`} onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)} onDrop={drop}>
      <label for={id}>{label}</label>
      <input id={id} ref={input} type="file" multiple={multiple} accept={accept} onChange={(event) => {
        const files = [...event.currentTarget.files ?? []];
        if (files.length) take(files);
      }} />
    </div>
  );
}

/** The files of a folder that was dropped, one level deep. */
async function filesOf(entry: FileSystemEntry): Promise<File[]> {
  if (entry.isFile) return [await new Promise<File>((done, failed) => (entry as FileSystemFileEntry).file(done, failed))];
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found = await new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed));
  return (await Promise.all(found.filter((inner) => inner.isFile).map(filesOf))).flat();
}

/** A long list, so many rows at a time. */
export function usePages<T>(rows: T[], size: number) {
  const [at, setAt] = useState(0);
  const last = Math.max(0, Math.ceil(rows.length / size) - 1);
  const page = Math.min(at, last);
  const pager = rows.length > size ? (
    <nav class="pager" aria-label="Pages">
      <button type="button" disabled={page === 0} onClick={() => setAt(page - 1)}>Previous</button>
      <span role="status">{page * size + 1}–{Math.min(rows.length, (page + 1) * size)} of {rows.length.toLocaleString('en-US')}</span>
      <button type="button" disabled={page === last} onClick={() => setAt(page + 1)}>Next</button>
    </nav>
  ) : null;
  return { shown: rows.slice(page * size, (page + 1) * size), pager };
}
