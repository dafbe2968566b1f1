// Brings the status page up to date every two seconds while somebody looks at it. The page works without it.
"use strict";
setInterval(async () => {
  if (document.hidden) return;
  let fresh;
  try {
    const answer = await fetch("index.html", { cache: "no-store" });
    if (!answer.ok) return;
    fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return; // The supervisor does not answer: perhaps the next time.
  }
  const ids = (page) => Array.from(page.querySelectorAll("tbody tr"), (row) => row.id).join(" ");
  if (ids(document) !== ids(fresh)) {
    document.querySelector("form").replaceWith(fresh.querySelector("form"));
    return;
  }
  // Cells that stay keep the focus that they have.
  const old = document.querySelectorAll("td");
  fresh.querySelectorAll("td").forEach((cell, n) => {
    if (old[n].innerHTML !== cell.innerHTML) old[n].innerHTML = cell.innerHTML;
  });
  document.querySelector("[name=token]").value = fresh.querySelector("[name=token]").value;
}, 2000);
