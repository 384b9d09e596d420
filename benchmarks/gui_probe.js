// Runs in a measured page before anything of its own: when curves are first there, and how long the page was busy.
// The same for every product. A canvas is looked at through a small copy: curves are the pixels that have a colour.
(() => {
  const seen = { curvesMs: null, blockedMs: 0, longestMs: 0 };
  window.__measured = seen;
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) {
      seen.blockedMs += Math.max(0, task.duration - 50);
      seen.longestMs = Math.max(seen.longestMs, task.duration);
    }
  }).observe({ type: 'longtask', buffered: true });

  const SIDE = 64;
  const copy = new OffscreenCanvas(SIDE, SIDE).getContext('2d', { willReadFrequently: true });
  const isColoured = (canvas) => {
    copy.clearRect(0, 0, SIDE, SIDE);
    copy.drawImage(canvas, 0, 0, SIDE, SIDE);
    const { data } = copy.getImageData(0, 0, SIDE, SIDE);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) {
      const most = Math.max(data[i], data[i + 1], data[i + 2]);
      const least = Math.min(data[i], data[i + 1], data[i + 2]);
      if (data[i + 3] > 60 && most - least > 40) count += 1;
    }
    return count > 20;
  };
  const isCurve = (element) => {
    const { width, height } = element.getBoundingClientRect();
    if (width < 40 || height < 40) return false;
    if (element instanceof HTMLCanvasElement) return element.width > 0 && element.height > 0 && isColoured(element);
    return (element.getAttribute('d') ?? '').length > 100;
  };
  const look = () => {
    for (const element of document.querySelectorAll(window.__curves)) {
      if (isCurve(element)) {
        seen.curvesMs = performance.now();
        return;
      }
    }
    setTimeout(look, 10);
  };
  if (window.__curves) look();
})();
