// Two methods on the same imaginary patients: the intervals of their mean scores, and that of their paired difference.
start("interval", async (figure, data) => {
  const {center, spread, draws} = data;                 // points of 100: where patients lie, and how far apart
  const settings = {patients: data.patients, gain: data.gain, noise: data.noise};
  let seed = data.seed, sets = 0, shown = 0;

  // Random numbers that are the same for the same seed (mulberry32), and bell-shaped ones from them.
  const random = start => {
    let state = start >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ state >>> 15, state | 1);
      t ^= t + Math.imul(t ^ t >>> 7, t | 61);
      return ((t ^ t >>> 14) >>> 0)/4294967296;
    };
  };
  const bell = next => Math.sqrt(-2*Math.log(1 - next()))*Math.cos(2*Math.PI*next());

  const mean = values => values.reduce((sum, value) => sum + value, 0)/values.length;
  const interval = (values, next) => {                  // percentile bootstrap, as covid_nbdev.evidence draws it
    const n = values.length, means = Array.from({length: draws}, () => {
      let sum = 0;
      for (let i = 0; i < n; i++) sum += values[Math.floor(n*next())];
      return sum/n;
    }).sort((a, b) => a - b);
    const at = share => {
      const place = share*(draws - 1), low = Math.floor(place);
      return means[low] + (place - low)*(means[Math.min(low + 1, draws - 1)] - means[low]);
    };
    return [at(.025), at(.975)];
  };
  const flips = (values, next) => {                     // how often is a mean as far from 0, with signs of chance?
    const seen = Math.abs(mean(values)) - 1e-9;
    let far = 0;
    for (let k = 0; k < draws; k++) {
      let sum = 0;
      for (const value of values) sum += next() < .5 ? value : -value;
      if (Math.abs(sum/values.length) >= seen) far++;
    }
    return (1 + far)/(1 + draws);
  };
  const measure = () => {
    const next = random(seed), first = [], second = [];
    for (let i = 0; i < settings.patients; i++) {
      const patient = center + spread*bell(next);
      first.push(patient + settings.noise*bell(next));
      second.push(patient + settings.gain + settings.noise*bell(next));
    }
    const change = second.map((value, i) => value - first[i]);
    const rows = [first, second, change].map(values => ({mean: mean(values), ci95: interval(values, next)}));
    return {seed, ...settings, first, second, rows, p: flips(change, next)};
  };

  // The picture: one axis from -20 to 80 points, three bars
  const low = -20, high = 80, x = value => (1000*(value - low)/(high - low)).toFixed(1);
  const colors = ["#d55e00", "#0072b2", "currentColor"], heights = [45, 105, 185];
  const bar = (color, width) => ["path", {stroke: color, "stroke-width": width, fill: "none", "vector-effect": "non-scaling-stroke"}];
  const parts = drawing(1000, 230, [["path", {d: "M" + x(0) + " 0V230", stroke: "currentColor", "stroke-width": 1.5, opacity: .6,
    "stroke-dasharray": "4 4", "vector-effect": "non-scaling-stroke"}], ...colors.map(color => bar(color, 3)), ...colors.map(color => bar(color, 9))]);
  const plot = parts[0], lines = parts.slice(2, 5), dots = parts.slice(5);
  plot.setAttribute("viewBox", "-15 0 1030 230");
  plot.setAttribute("style", "display: block; width: 100%; height: 13rem; overflow: hidden; border-bottom: 1px solid");
  const names = ["A", "B", "B \u2212 A"];
  const labels = ["method A", "method B", names[2]].map((name, i) => el("span", {"aria-hidden": "true",
    style: "position: absolute; left: .4rem; white-space: nowrap; font-size: .9em; transform: translateY(-50%); top: " + (100*heights[i]/230) + "%"}, name));
  const ticks = el("div", {"aria-hidden": "true", style: "position: relative; height: 1.4em; font-size: .85em"}, ...[-20, 0, 20, 40, 60, 80].map(value =>
    el("span", {style: "position: absolute; transform: translateX(-50%); left: " + (100*((Number(x(value)) + 15)/1030)).toFixed(1) + "%"}, number(value))));
  ticks.firstChild.style.transform = "none";
  ticks.lastChild.style.transform = "translateX(-100%)";

  const said = el("output", {"aria-live": "polite"}), verdict = el("output", {class: "covid-play-task", "aria-live": "polite"}), score = el("p", {});
  const words = (name, row) => name + ": " + number(row.mean, 1) + " (" + number(row.ci95[0], 1) + " to " + number(row.ci95[1], 1) + ")";
  const draw = () => {
    const found = measure(), [a, b, change] = found.rows;
    found.rows.forEach((row, i) => {
      const [from, to] = row.ci95.map(x), y = heights[i];
      lines[i].setAttribute("d", "M" + from + " " + (y - 12) + "v24M" + from + " " + y + "H" + to + "m0 -12v24");
      dots[i].setAttribute("d", "M" + x(row.mean) + " " + (y - 9) + "v18");
    });
    const overlap = a.ci95[1] >= b.ci95[0] && b.ci95[1] >= a.ci95[0], clear = change.ci95[0] > 0 || change.ci95[1] < 0;
    sets++;
    if (clear) shown++;
    said.textContent = found.rows.map((row, i) => words(names[i], row)).join("; ") + "; p = " + number(found.p, 3) + ".";
    verdict.textContent = (overlap ? "The intervals of A and B overlap. " : "The intervals of A and B do not overlap. ")
      + (clear ? "The difference is shown: its interval leaves out 0." : "The difference is not shown: its interval holds 0.");
    score.textContent = "At these settings the difference was shown in " + shown + " of " + sets + (sets === 1 ? " set." : " sets.");
    tell(figure, {...found, overlap, shown: clear, sets, times: shown});
  };
  const set = name => value => { settings[name] = value; sets = shown = 0; draw(); };
  const sliders = [
    slider("Patients", {min: 4, max: 120, step: 1, value: settings.patients, unit: "patients"}, set("patients")),
    slider("True difference, B \u2212 A", {min: 0, max: 20, step: 1, value: settings.gain, unit: "points"}, set("gain")),
    slider("Noise of one score", {min: 1, max: 20, step: 1, value: settings.noise, unit: "points"}, set("noise"))];
  const others = count => () => { for (let k = 0; k < count; k++) { seed++; draw(); } };

  draw();
  const left = el("div", {style: "flex: 3 1 17rem; min-width: 0"}, el("div", {style: "display: grid; grid-template-columns: minmax(0, 1fr) 5.2rem"}, el("div", {}, plot, ticks),
    el("div", {style: "position: relative; height: 13rem"}, ...labels)),
    el("p", {style: "font-size: .85em"}, "mean score, in points of 100; dashed line: no difference"));
  const right = el("div", {class: "covid-play-tools"}, ...sliders.map(one => one.root),
    el("div", {class: "covid-play-row"}, button("Other patients", others(1), {class: "covid-play-main"}), button("20 other sets", others(20))), score);
  return [verdict, el("div", {class: "covid-play-body"}, left, right), said];
});
