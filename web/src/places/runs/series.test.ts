import { describe, expect, test } from 'vitest';
import type { SeriesHeader } from '../../api/types';
import { type Columns, RunSeries, decode, valuesOf } from './series';

const header = (more: Partial<SeriesHeader> = {}): SeriesHeader => ({
  run: 'calm-otter',
  metric: 'loss',
  points: 0,
  even_steps: null,
  segments: [],
  marks: [],
  step_offset: 0,
  parent: null,
  cursor: '1:0',
  ...more,
});

function columns(step: number[], value: number[], more: Partial<SeriesHeader> = {}): Columns {
  return {
    header: header({
      points: step.length,
      segments: [{ run: 'calm-otter', attempt: 1, start: 0, end: step.length, is_abandoned: false }],
      ...more,
    }),
    step: Float64Array.from(step),
    time: Float64Array.from(step, (s) => 1000 + s / 10),
    value: Float64Array.from(value),
  };
}

function body(all: Columns[], pad: number): ArrayBuffer {
  const text = JSON.stringify({ series: all.map((one) => one.header), missing: ['gone'] });
  const json = new TextEncoder().encode(text.padEnd(Math.ceil((text.length + 4) / 8) * 8 - 4 + pad));
  const parts = all.flatMap((one) => [...(one.header.even_steps ? [] : [one.step]), one.time, one.value]);
  const whole = new Uint8Array(4 + json.length + parts.reduce((sum, part) => sum + part.byteLength, 0));
  new DataView(whole.buffer).setUint32(0, json.length, true);
  whole.set(json, 4);
  let at = 4 + json.length;
  for (const part of parts) {
    whole.set(new Uint8Array(part.buffer), at);
    at += part.byteLength;
  }
  return whole.buffer;
}

describe('series', () => {
  test.each([0, 3])('are read as the raw columns that the server sends (%i bytes off)', (pad) => {
    const sent = [columns([0, 1, 2], [1.5, NaN, Infinity]), columns([7], [-0.25], { run: 'swift-fjord' })];
    const { series, missing } = decode(body(sent, pad));
    expect(missing).toEqual(['gone']);
    expect(series.map((one) => one.header.run)).toEqual(['calm-otter', 'swift-fjord']);
    expect([...series[0]!.step]).toEqual([0, 1, 2]);
    expect([...series[0]!.value]).toEqual([1.5, NaN, Infinity]);
    expect([...series[1]!.time]).toEqual([1000.7]);
    expect([...series[1]!.value]).toEqual([-0.25]);
  });

  test('have the steps that two numbers tell', () => {
    const sent = [columns([3, 13, 23], [1, 2, 3], { even_steps: [3, 10] }), columns([0, 1, 5], [1, 2, 3])];
    expect(decode(body(sent, 0)).series.map((one) => [...one.step])).toEqual([
      [3, 13, 23],
      [0, 1, 5],
    ]);
  });

  test('what JSON cannot hold is read from its spelling', () => {
    expect([...valuesOf({ value: [1, null, null, null], nonfinite: { 1: 'nan', 2: 'inf', 3: '-inf' } })]).toEqual([
      1,
      NaN,
      Infinity,
      -Infinity,
    ]);
  });

  test('grow by what is new, and never twice by the same', () => {
    const series = new RunSeries(columns([0, 1, 2], [5, 4, 3]));
    const { main } = series.curves('step', null);
    const time = (s: number) => 1000 + s / 10;
    expect(series.append([1, 2], [1, 2].map(time), [4, 3])).toBe(false);
    expect(series.append([2, 3], [2, 3].map(time), [3, 2])).toBe(true);
    expect(series.append([4, 5], [4, 5].map(time), [1, NaN])).toBe(true);
    expect(series.append([5, 6], [5, 6].map(time), [NaN, 9])).toBe(true);
    expect([...main.x.slice(0, main.length)]).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect([...main.y.slice(0, main.length)]).toEqual([5, 4, 3, 2, 1, NaN, 9]);
  });

  test('two points at one moment are two', () => {
    const series = new RunSeries(columns([], []));
    series.append([0, 1], [7, 7], [1, 2]);
    series.append([1, 2], [7, 7], [2, 3]);
    expect([...series.curves('step', null).main.y.slice(0, 3)]).toEqual([1, 2, 3]);
    expect(series.length).toBe(3);
  });

  test('points that a later attempt began before are a curve of their own', () => {
    const segments = [
      { run: 'calm-otter', attempt: 1, start: 0, end: 2, is_abandoned: false },
      { run: 'calm-otter', attempt: 1, start: 2, end: 4, is_abandoned: true },
      { run: 'calm-otter', attempt: 2, start: 4, end: 6, is_abandoned: false },
    ];
    const series = new RunSeries(columns([0, 1, 2, 3, 2, 3], [9, 8, 70, 60, 7, 6], { segments }));
    const { main, abandoned } = series.curves('step', null);
    expect([...main.y]).toEqual([9, 8, 7, 6]);
    expect(abandoned.map((curve) => [...curve.y])).toEqual([[70, 60]]);
    expect(series.at(2)).toMatchObject({ step: 2, value: 7 });
  });

  test('are shown over time, over steps since the root, and over another metric', () => {
    const series = new RunSeries(columns([0, 1, 2], [5, 4, 3], { step_offset: 100 }));
    expect([...series.curves('root', null).main.x]).toEqual([100, 101, 102]);
    expect([...series.curves('clock', null).main.x]).toEqual([1000, 1000.1, 1000.2]);
    series.curves('time', null).main.x.forEach((x, i) => expect(x).toBeCloseTo(i / 10));
    const other = new RunSeries(columns([0, 2, 3], [0.1, 0.3, 0.4], { metric: 'lr' }));
    const by = series.curves('m:lr', other).main;
    expect([...by.x]).toEqual([0.1, 0.3]);
    expect([...by.y]).toEqual([5, 3]);
  });
});
