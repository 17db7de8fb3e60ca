// The Prometheus text exposition, as far as the page needs it.

export interface Sample { name: string; labels: Record<string, string>; value: number }

export function parse(text: string): Sample[] {
  const samples: Sample[] = [];
  for (const line of text.split('\n')) {
    const found = line.match(/^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/);
    if (!found) continue;
    const labels: Record<string, string> = {};
    for (const [, name, value] of (found[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value.replace(/\\(.)/g, (_, c) => c === 'n' ? '\n' : c);
    samples.push({ name: found[1], labels, value: Number(found[3].replace('+Inf', 'Infinity')) });
  }
  return samples;
}

export class Metrics {
  constructor(private readonly samples: Sample[]) {}

  of(name: string): Sample[] {
    return this.samples.filter((sample) => sample.name === name);
  }

  value(name: string): number | null {
    return this.of(name)[0]?.value ?? null;
  }

  /** From the buckets of a histogram, all its labels together. */
  quantile(name: string, share: number): number | null {
    const buckets = new Map<number, number>();
    for (const { labels, value } of this.of(`${name}_bucket`)) {
      const upper = Number(labels.le.replace('+Inf', 'Infinity'));
      buckets.set(upper, (buckets.get(upper) ?? 0) + value);
    }
    const sorted = [...buckets].sort(([one], [other]) => one - other);
    const total = sorted.at(-1)?.[1] ?? 0;
    if (!total) return null;
    let [low, below] = [0, 0];
    for (const [upper, upto] of sorted) {
      if (upto >= share * total) {
        if (upper === Infinity) return low;
        return low + (upper - low) * ((share * total - below) / Math.max(upto - below, 1));
      }
      [low, below] = [upper, upto];
    }
    return low;
  }
}
