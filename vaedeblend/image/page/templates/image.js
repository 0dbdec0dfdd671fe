"use strict";
// A click on an image, or on a row, shows a source; one on a title sorts the table.
(() => {
  const table = document.getElementById("sources"), shown = document.getElementById("shown");
  if (!table) return;
  const titles = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const frames = [...document.querySelectorAll(".sky .frame")];
  const sources = [...body.rows].map(row => {
    const cells = [...row.cells].map(cell => cell.textContent);
    return {row, cells, id: cells[0], x: +cells[1] + 0.5, y: +cells[2] + 0.5};
  });
  const box = frames[0].querySelector("svg").viewBox.baseVal, side = Math.min(64, box.width);

  const crops = [...shown.querySelectorAll(".crop")].map((crop, i) => {
    const image = crop.appendChild(new Image());
    image.alt = "";
    image.src = frames[i].querySelector("img").src;
    return image;
  });
  const panel = document.createElement("a");
  panel.textContent = "its panel";
  shown.children[1].after(" ", panel);

  function show(source) {
    const [name, facts] = shown.children;
    shown.hidden = false;
    name.textContent = `Source ${source.id}`;
    facts.textContent = titles.map((title, i) => [title.textContent, source.cells[i]])
      .slice(1).filter(([, value]) => value && value !== "–").map(fact => fact.join(" ")).join(" · ");
    panel.href = `#source-${source.id}`;
    panel.hidden = !document.getElementById(`source-${source.id}`);
    crops.forEach(image => {
      const percent = value => `${100 * value / side}%`;
      image.style.width = percent(box.width);
      image.style.height = percent(box.height);
      image.style.left = percent(side / 2 - source.x);
      image.style.top = percent(side / 2 - (box.height - source.y));
    });
    body.querySelectorAll(".chosen").forEach(row => row.classList.remove("chosen"));
    source.row.classList.add("chosen");
  }

  frames.forEach(frame => frame.addEventListener("click", event => {
    if (event.target.closest("a")) return;
    const seen = frame.getBoundingClientRect();
    const x = (event.clientX - seen.left) / seen.width * box.width;
    const y = box.height - (event.clientY - seen.top) / seen.height * box.height;
    const far = source => Math.hypot(source.x - x, source.y - y);
    show(sources.reduce((near, each) => far(each) < far(near) ? each : near));
  }));
  body.addEventListener("click", event => {
    show(sources.find(each => each.row === event.target.closest("tr")));
    shown.scrollIntoView({block: "nearest"});
  });
  titles.forEach((title, i) => title.addEventListener("click", () => {
    const sign = title.getAttribute("aria-sort") === "descending" ? 1 : -1;
    titles.forEach(each => each.removeAttribute("aria-sort"));
    title.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const key = ({cells}) => cells[i] === "–" ? Infinity * sign : +cells[i];
    const order = (a, b) => isNaN(key(a)) || isNaN(key(b))
      ? a.cells[i].localeCompare(b.cells[i]) : key(a) - key(b) || 0;
    sources.sort((a, b) => sign * order(a, b)).forEach(each => body.append(each.row));
  }));
})();
