// Sortable tables. Without JavaScript the headings stay plain text and the rows in their order.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const key = (row, column) => {
    const text = row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    return text === "" ? null : isNaN(text) ? text.toLowerCase() : Number(text);
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    if ("plain" in heading.dataset) return;  // its values have no order
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const sign = heading.ariaSort === "descending" ? 1 : -1;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.ariaSort = sign > 0 ? "ascending" : "descending";
      const rows = [...body.rows].map((row) => [key(row, column), row]);
      rows.sort(([a], [b]) => (a === null) - (b === null) || sign * compare(a, b));  // nothing comes last
      body.append(...rows.map(([, row]) => row));
    });
  });
}

// A button that copies, beside each block of text that is to be copied; without JavaScript there is none.
for (const block of document.querySelectorAll(".copy")) {
  const text = block.querySelector("pre");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy: ${text.getAttribute("aria-label")}`);
  button.setAttribute("aria-live", "polite");
  const done = (word) => {
    button.textContent = word;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };
  button.addEventListener("click", () => {
    getSelection().selectAllChildren(text);  // also where the browser allows no copying: the reader presses the keys
    const old = () => done(document.execCommand("copy") ? "Copied" : "Selected");
    if (navigator.clipboard) navigator.clipboard.writeText(text.textContent).then(() => done("Copied"), old);
    else old();
  });
  block.append(button);
}

addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => { details.open = true; }));
