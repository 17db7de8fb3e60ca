// Numbers as people read them, and as they type them.

/** What was typed as the number it is; the daemon says what is wrong with all else, and with nothing where one is needed. */
export const numeric = (text: string): number | string | undefined =>
  text.trim() === '' ? undefined : Number.isNaN(Number(text)) ? text : Number(text);

export const count = (value: number | null | undefined) => (value ?? null) === null ? '–' : value!.toLocaleString('en-US');

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  let left = value, unit = 0;
  while (left >= 1024 && unit < 4) { left /= 1024; unit++; }
  return `${unit && left < 100 ? left.toFixed(1) : Math.round(left)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][unit]}`;
}

export const percent = (share: number | null | undefined, digits = 1) =>
  share === null || share === undefined ? '–' : `${(share * 100).toFixed(digits)} %`;

export const number = (value: number | null | undefined, digits = 4) =>
  value === null || value === undefined || !Number.isFinite(value) ? '–' : String(+value.toPrecision(digits));

export function span(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 90) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} d`;
}

/** Unix seconds as local time. */
export const time = (seconds: number | null | undefined) =>
  seconds ? new Date(seconds * 1000).toLocaleString('sv-SE').slice(0, 19) : '–';

export const short = (generation: string | null | undefined) => generation ? generation.slice(0, 8) : '–';
