// One job, three programs: what is in memory and on the disk after each step, and what is left when the program is stopped.
start("stream", async (figure, data) => {
  const {slices, way} = data, state = {way, step: 0, stopped: false};
  const programs = [["all", "All at once"], ["bare", "One at a time"], ["safe", "One at a time, named at the end"]];

  // After each step: how many slices are in memory and written, and the name of the folder that holds those.
  const steps = {all: 2*slices, bare: slices, safe: slices + 1};
  const after = (way, step) => {
    const written = Math.min(slices, way === "all" ? Math.max(0, step - slices) : step);
    const busy = step > 0 && written < slices;
    const memory = way === "all" ? (busy ? Math.min(step, slices) : 0) : busy ? 1 : 0;
    const folder = step === 0 || (way === "all" && !written) ? "" : way === "safe" && step < steps.safe ? ".store-temporary" : "store";
    return {memory, written, folder, done: step === steps[way]};
  };
  const left = now => state.stopped ? (now.folder === "store" ? {...now, memory: 0} : {...now, memory: 0, written: 0, folder: ""}) : now;

  // The picture: three rows of boxes
  const grid = "display: grid; gap: 3px; grid-template-columns: repeat(" + slices + ", minmax(0, 1fr))";
  const row = title => {
    const name = el("span", {}), boxes = Array.from({length: slices}, () =>
      el("span", {style: "aspect-ratio: 1; border: 1px solid currentColor; border-radius: 2px"}));
    const root = el("div", {style: "margin-bottom: .7rem"}, el("p", {}, el("strong", {}, title), name), el("div", {style: grid, "aria-hidden": "true"}, ...boxes));
    return {root, show: (text, full, color) => {
      name.textContent = text;
      boxes.forEach((box, i) => { box.style.background = full(i) ? color : "transparent"; });
    }};
  };
  const file = row("Kaggle's files: "), memory = row("Memory: "), disk = row("Disk: ");
  const said = el("output", {class: "covid-play-task", "aria-live": "polite"}), peak = el("output", {"aria-live": "polite"});
  const count = n => n + (n === 1 ? " slice" : " slices");

  const verdict = now => {
    if (state.stopped && now.folder === "store" && now.written < slices)
      return "A folder named store with " + now.written + " of " + count(slices) + ". The next program takes it for a whole one.";
    if (state.stopped && !now.folder) return "Nothing is left. No program can take half a store for a whole one.";
    if (now.done) return "Done: a folder named store with " + count(slices) + ".";
    if (state.step === 0) return "Nothing has happened yet.";
    return now.folder === "" ? "Loading." : "Writing into " + now.folder + ".";
  };
  const draw = () => {
    const now = left(after(state.way, state.step)), done = now.done || state.stopped;
    file.show(count(slices), () => true, "#999999");
    memory.show(count(now.memory), i => i < now.memory, "#d55e00");
    disk.show(now.folder ? "folder " + now.folder + ", " + count(now.written) : "no folder", i => i < now.written,
      now.folder === "store" ? "#0072b2" : "#56b4e9");
    const most = Math.max(0, ...Array.from({length: state.step + 1}, (_, step) => after(state.way, step).memory));
    peak.textContent = "Most slices in memory so far: " + most + ".";
    said.textContent = verdict(now);
    next.disabled = done;
    stop.disabled = done || state.step === 0;
    tell(figure, {...state, ...now, most});
  };
  const again = () => { state.step = 0; state.stopped = false; draw(); };
  const next = button("Next step", () => { state.step = Math.min(state.step + 1, steps[state.way]); draw(); }, {class: "covid-play-main"});
  const stop = button("Stop the program", () => { state.stopped = true; draw(); });
  const choice = radios("The program", programs, way, value => { state.way = value; again(); });
  draw();
  return [said, el("div", {class: "covid-play-body"}, el("div", {style: "flex: 3 1 17rem; min-width: 0"}, file.root, memory.root, disk.root),
    el("div", {class: "covid-play-tools"}, choice.root, el("div", {class: "covid-play-row"}, next, stop, button("From the start", again)), peak))];
});
