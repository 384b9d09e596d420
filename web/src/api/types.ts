// The words that server and page share, by their short names; all of them come from openapi.json.
import type { components } from './api';

type Schemas = components['schemas'];
export type Schema<Name extends keyof Schemas> = Schemas[Name];

export type Value = boolean | number | string | null | unknown[] | { [key: string]: unknown };
export type RunRow = Schema<'RunRow'>;
export type RunsPage = Schema<'RunsPage'>;
export type Columns = Schema<'Columns'>;
export type ConfigColumn = Schema<'ConfigColumn'>;
export type MetricColumn = Schema<'MetricColumn'>;
export type Completions = Schema<'Completions'>;
export type Differing = Schema<'Differing'>;
export type Groups = Schema<'Groups'>;
export type Group = Schema<'Group'>;
export type Problem = Schema<'Problem'>;
export type Session = Schema<'Session'>;
export type SeriesHeader = Schema<'SeriesHeader'>;
export type SeriesAnswer = Schema<'SeriesAnswer'>;
export type CheckpointMark = Schema<'Mark'>;
export type Segment = Schema<'Segment'>;
export type QueueView = Schema<'QueueView'>;
export type MachineSample = Schema<'MachineSample'>;
export type ActionAsked = Schema<'ActionAsked'>;
export type ActionDone = Schema<'ActionDone'>;
export type Action = ActionAsked['action'];
export type NotesChange = Schema<'NotesChange'>;
export type OutputCursor = Schema<'OutputCursor'>;
export type Points = Schema<'Points'>;
export type RowsChanged = Schema<'RowsChanged'>;
export type LiveMessage =
  | Schema<'Hello'>
  | Schema<'RowsChanged'>
  | Schema<'Points'>
  | Schema<'OutputGrew'>
  | Schema<'QueueChanged'>
  | Schema<'MachineSampled'>
  | Schema<'Said'>;
