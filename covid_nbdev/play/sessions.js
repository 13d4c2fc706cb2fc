// A training in sessions of limited time, on a weekly quota of GPU hours: how many versions it takes, and how many weeks.
start("sessions", async (figure, data) => {
  const settings = {...data.settings}, {quota, longest, most} = data;          // GPU hours a week; hours of a session; bars shown
  let careful = true;

  // Epochs of each session until all are done: whole ones, and a tenth of one, that fit beside the reserve, as `train_run` counts.
  // Or none, where a session is cut off.
  const plan = () => {
    const {epochs, minutes, hours, reserve} = settings;
    if (!careful) return epochs*minutes <= 60*hours ? [epochs] : [];
    const fit = Math.max(0, Math.floor((60*hours - reserve)/minutes - .1)), sessions = [];
    for (let done = 0; fit > 0 && done < epochs; done += fit) sessions.push(Math.min(fit, epochs - done));
    return sessions;
  };
  // A version is started in a week whose quota still covers it; else in the next one.
  const weeks = lengths => {
    let week = 1, left = quota;
    for (const length of lengths) {
      if (length > left) { week++; left = quota; }
      left -= length;
    }
    return week;
  };

  const height = 26, width = 480, x = hours => (width*hours/longest).toFixed(1);
  const path = (color, opacity) => ["path", {fill: color, opacity}];
  const [picture, frame, trained, marks, reserved, lost] = drawing(width, most*height, [
    ["path", {fill: "none", stroke: "currentColor", opacity: .5}], path("#56b4e9", 1), ["path", {fill: "none", stroke: "#16181c", "stroke-width": .8}],
    path("currentColor", .4), path("#d55e00", 1)]);
  picture.setAttribute("style", "display: block; width: 100%; height: auto; overflow: visible");
  picture.setAttribute("preserveAspectRatio", "xMidYMid meet");
  const ticks = el("div", {"aria-hidden": "true", style: "display: flex; justify-content: space-between; font-size: .85em"},
    ...[0, 3, 6, 9, 12].map(hour => el("span", {}, hour + " h")));
  const said = el("output", {class: "covid-play-score", "aria-live": "polite"}), why = el("p", {});
  const draw = () => {
    const {epochs, minutes, hours, reserve} = settings, sessions = plan(), cut = !careful && !sessions.length;
    const box = (i, from, to) => "M" + x(from) + " " + (i*height + 4) + "H" + x(to) + "v" + (height - 8) + "H" + x(from) + "z";
    const shown = sessions.slice(0, most), none = !sessions.length;
    const extra = careful ? reserve/60 : 0, lengths = cut ? [hours] : sessions.map(n => n*minutes/60 + extra);
    frame.setAttribute("d", (none ? [0] : shown).map((_, i) => box(i, 0, hours)).join(""));
    trained.setAttribute("d", shown.map((n, i) => box(i, 0, n*minutes/60)).join(""));
    marks.setAttribute("d", shown.map((n, i) => Array.from({length: n - 1}, (_, e) => "M" + x((e + 1)*minutes/60) + " " + (i*height + 4) + "v" + (height - 8)).join("")).join(""));
    reserved.setAttribute("d", shown.map((n, i) => box(i, n*minutes/60, n*minutes/60 + extra)).join(""));
    lost.setAttribute("d", cut ? box(0, 0, hours) : "");
    const total = lengths.reduce((sum, length) => sum + length, 0), count = weeks(lengths);
    said.textContent = cut ? "Cut off at " + number(hours) + " hours: nothing is left." : none ? "Not one epoch fits into a session."
      : sessions.length + (sessions.length === 1 ? " version, " : " versions, ") + number(total, 1) + " GPU hours, " + count + (count === 1 ? " week." : " weeks.");
    why.textContent = cut ? epochs + " epochs of " + minutes + " minutes take " + number(epochs*minutes/60, 1) + " hours." : none ? "" : "Epochs: " + shown.join(" + ")
      + (sessions.length > most ? " \u2026" : "") + " = " + epochs + ". A version's output is the next one's input.";
    tell(figure, {...settings, careful, sessions, hoursUsed: total, weeks: none && !cut ? 0 : count, cut});
  };

  const move = (text, name, options) => slider(text, {...options, value: settings[name]}, value => { settings[name] = value; draw(); }).root;
  const which = radios("The training", [["yes", "looks at the clock and stops in time"], ["no", "just runs"]], "yes", value => { careful = value === "yes"; draw(); });
  draw();
  return [el("div", {class: "covid-play-body"}, el("div", {style: "flex: 3 1 17rem; min-width: 0; max-width: 36rem"}, picture, ticks,
    el("p", {style: "font-size: .85em"}, "Blue: epochs. Gray: the reserve for results. Orange: lost.")),
    el("div", {class: "covid-play-tools"}, said, why, move("Epochs", "epochs", {min: 1, max: 120, step: 1, unit: "epochs"}),
      move("One epoch takes", "minutes", {min: 1, max: 240, step: 1, unit: "minutes"}), move("Limit of a session", "hours", {min: 1, max: longest, step: 1, unit: "hours"}),
      move("Reserve", "reserve", {min: 0, max: 60, step: 5, unit: "minutes"}), which.root))];
});
