// Numbers: the held-out score with its interval, where a policy comes from, its recipe, and what its training reported.

import { drawSpark } from "./charts.mjs";
import { color } from "./drawing.mjs";
import { byId, count, el } from "./elements.mjs";

export class Numbers {
  constructor(app) {
    this.app = app;
    this.shown = null;
    this.sparks = [];
    app.whenChanged(() => this.update());
    this.update();
  }

  update() {
    const policy = this.app.focusedPolicy;
    if (policy === this.shown) return;
    this.shown = policy;
    byId("numbers-of").textContent = policy?.name ?? "";
    byId("facts").replaceChildren(...(policy ? this.facts(policy) : [el("p", { text: "You drive this cart-pole: there are no numbers." })]));
    const { recipe } = policy?.info ?? {};
    byId("recipe-details").hidden = !recipe;
    byId("recipe").textContent = recipe ?? "";
    this.showDiagnostics(policy?.diagnostics ?? []);
  }

  facts({ info, outputs, export: network, history }) {
    const score = info?.held_out;
    const facts = [];
    if (score) {
      facts.push(["held-out return", score.mean_return.toFixed(1)]);
      const [low, high] = score.ci95.map((end) => end.toFixed(1));
      facts.push(["95 % interval", `${low} to ${high}`], ["held-out episodes", `${count(score.episodes)}, ${score.set} set`]);
    }
    if (info?.algorithm) facts.push(["algorithm", info.algorithm], ["trained on", info.environment]);
    if (info?.recipe_name) facts.push(["recipe", info.recipe_name]);
    if (info?.env_steps) facts.push(["env steps", count(info.env_steps)]);
    if (network) facts.push(["network", `${network.sizes.join(" \u2013 ")}, ${network.activation}`]);
    if (outputs) facts.push(["outputs", count(outputs)]);
    if (history) facts.push(["moments saved", count(history.length)]);
    const pilot = this.app.pilotOf({ subject: this.app.focused.subject, moment: null });
    if (pilot?.selfTest) facts.push(["same as PyTorch", pilot.selfTest() === 0 ? "on all 64 test states" : "no: outputs differ"]);
    return facts.map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", { text: value })));
  }

  showDiagnostics(diagnostics) {
    byId("diagnostics-part").hidden = !diagnostics.length;
    this.sparks = [];
    const rows = diagnostics.map(({ name, sentence, last, series }) => {
      const canvas = el("canvas", { className: "spark", role: "img", "aria-label": `${name} during training` });
      this.sparks.push([canvas, series]);
      const value = Math.abs(last) >= 1000 ? count(last) : String(Number(last.toPrecision(3)));
      return el("tr", {}, el("th", { text: name, scope: "row" }), el("td", { className: "number", text: value }),
        el("td", { className: "spark-cell" }, canvas), el("td", { text: sentence }));
    });
    byId("diagnostics").replaceChildren(...rows);
  }

  draw() {
    for (const [canvas, series] of this.sparks) drawSpark(canvas, series, color("--left"));
  }
}
