import { describe, expect, test } from 'vitest';
import { formatUrl, parseUrl } from './url';
import { PLAIN_VIEW, type View, readView, writeView } from './view';

const said = (view: View) =>
  Object.fromEntries(Object.entries(writeView(view)).filter((one): one is [string, string] => one[1] !== null));
const through = (view: View) => {
  const text = formatUrl({ place: 'insight', params: said(view) });
  const [path, search] = text.split('?');
  const url = parseUrl(path!, search ? `?${search}` : '');
  return { place: url.place, view: readView(url.params) };
};

describe('the URL', () => {
  test('a plain view says nothing', () => {
    expect(said(PLAIN_VIEW)).toEqual({});
    expect(readView({})).toEqual(PLAIN_VIEW);
  });

  test('a view comes back as it was, whatever its names are', () => {
    const view: View = {
      query: 'loss<0.4 and tag:"a,b&c=d%2C+#"',
      sort: 'min(val/loss)',
      descending: false,
      group: ['lr', 'a,b', '100%', 'ä?&='],
      each: true,
      columns: ['config:lr', 'metric:val/loss,x'],
      selected: ['calm-otter', 'swift-fjord'],
      x: 'm:train/loss',
      smooth: 0.65,
      logY: true,
      logX: true,
      band: false,
      perRow: 3,
      chart: 'val/loss',
      zoom: [0.5, 1200],
      zoomY: [
        ['val/loss', -1, 2.5e-7],
        ['a,b%', 1, 2],
      ],
      archived: true,
      open: 'calm-otter',
      tab: 'output',
    };
    expect(through(view)).toEqual({ place: 'insight', view });
  });

  test('nothing selected is another thing than nothing said', () => {
    expect(through({ ...PLAIN_VIEW, selected: [] }).view.selected).toEqual([]);
    expect(through({ ...PLAIN_VIEW, selected: null }).view.selected).toBeNull();
  });

  test('what nobody wrote is read as the plain view', () => {
    expect(
      readView({
        smooth: '7',
        row: '9',
        zoom: 'a,b',
        zoomy: 'loss,2,1,loss,0,Infinity,x,1',
        x: 'nonsense',
        tab: '<script>',
      }),
    ).toEqual(PLAIN_VIEW);
  });

  test('an unknown place is Runs', () => {
    expect(parseUrl('/elsewhere/x', '').place).toBe('runs');
    expect(parseUrl('/queue', '?q=a').place).toBe('queue');
  });
});
