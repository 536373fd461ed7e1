// Long work on the server: started, followed with its progress, cancelled.
import { both, el, said } from "./dom.js";
import { ask, askJSON } from "./server.js";

const STEP_MS = 700;

// Starts a process and shows how it gets on in `box`; resolves to its result, or null when cancelled or failed.
export async function runJob(process, inputs, box) {
  const bar = el("progress", { max: 100, value: 0, "aria-label": said("进度", "Progress") }), words = el("span", { class: "note" }, both("排队中", "Queued"));
  let wanted = true, job = "";
  const stop = el("button", { type: "button", class: "cancel", onclick: async () => {
    wanted = false;
    if (job) await ask(`/jobs/${job}`, { method: "DELETE" }).catch(() => {});
  } }, both("取消", "Cancel"));
  box.replaceChildren(el("div", { class: "row job" }, bar, stop), words);
  try {
    const started = await (await ask(`/processes/${process}/execution`, { method: "POST", headers: { "Content-Type": "application/json", Prefer: "respond-async" }, body: JSON.stringify({ inputs }) })).json();
    job = started.jobID;
    if (!wanted) await ask(`/jobs/${job}`, { method: "DELETE" }).catch(() => {});
    let now = started;
    while (["accepted", "running"].includes(now.status) && wanted) {
      await new Promise((done) => setTimeout(done, STEP_MS));
      now = await askJSON(`/jobs/${job}`);
      if (now.progress) bar.value = now.progress;
      if (now.status === "running") words.replaceChildren(now.message && now.message !== "running" ? now.message : both("计算中", "Working"));
    }
    if (!wanted || now.status === "dismissed") { words.replaceChildren(both("已取消。", "Cancelled.")); bar.parentElement.remove(); return null; }
    if (now.status !== "successful") { words.replaceChildren(el("span", { class: "bad" }, both("失败：", "Failed: "), now.message || "")); bar.parentElement.remove(); return null; }
    box.replaceChildren();
    return { job, result: () => askJSON(`/jobs/${job}/results`) };
  } catch (error) {
    words.replaceChildren(el("span", { class: "bad" }, error.message));
    bar.parentElement?.remove();
    if (error.status === undefined) throw error;
    return null;
  }
}
