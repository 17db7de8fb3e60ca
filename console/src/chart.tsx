// Curves over steps.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { number } from './format';

export interface Line { name: string; points: Map<number, number>; tone: 'one' | 'two' }

/** Lines that share their steps; where one has no value at a step, it goes on to its next. */
export function Chart({ title, lines, unit = '' }: { title: string; lines: Line[]; unit?: string }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const steps = [...new Set(lines.flatMap((line) => [...line.points.keys()]))].sort((one, other) => one - other);
  const data = [steps, ...lines.map((line) => steps.map((step) => line.points.get(step) ?? null))] as uPlot.AlignedData;
  const latest = useRef(data);
  latest.current = data;
  const named = lines.map((line) => line.name).join();
  useEffect(() => {
    const root = place.current!;
    const draw = () => {
      plot.current?.destroy();
      const style = getComputedStyle(root);
      const color = (name: string) => style.getPropertyValue(name).trim();
      const axis = { stroke: color('--muted'), grid: { stroke: color('--line'), width: 1 }, ticks: { stroke: color('--line'), width: 1 } };
      plot.current = new uPlot({
        width: root.clientWidth || 600,
        height: 220,
        scales: { x: { time: false } },
        legend: { live: true },
        cursor: { y: false },
        series: [
          { label: 'Step' },
          ...lines.map((line) => ({
            label: line.name,
            stroke: color(line.tone === 'one' ? '--accent' : '--second'),
            width: 2,
            spanGaps: true,
            points: { show: line.tone === 'two' },
            value: (_: uPlot, value: number | null) => value === null ? '–' : number(value) + unit,
          })),
        ],
        axes: [axis, { ...axis, size: 64, values: (_: uPlot, values: number[]) => values.map((value) => number(value, 3)) }],
      }, latest.current, root);
    };
    draw();
    const wide = new ResizeObserver(() => plot.current?.setSize({ width: root.clientWidth, height: 220 }));
    wide.observe(root);
    // The theme changes the colours of what is drawn already.
    const theme = new MutationObserver(draw);
    theme.observe(document.documentElement, { attributeFilter: ['data-theme'] });
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', draw);
    return () => {
      wide.disconnect();
      theme.disconnect();
      dark.removeEventListener('change', draw);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [named]);
  // A value may also come to a step that is drawn already.
  const values = lines.reduce((sum, line) => sum + line.points.size, 0);
  useEffect(() => plot.current?.setData(data), [values, steps.at(-1)]);
  const said = lines.filter((line) => line.points.size > 0).map((line) => {
    const last = Math.max(...line.points.keys());
    return `${line.name} ${number(line.points.get(last))}${unit} at step ${last}`;
  });
  return (
    <figure class="chart">
      <figcaption>{title}{said.length > 0 && <small>{said.join(', ')}</small>}</figcaption>
      <div ref={place} role="img" aria-label={`${title}: ${said.join(', ') || 'no steps yet'}`} />
    </figure>
  );
}
