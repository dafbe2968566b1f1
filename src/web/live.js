// Updates the status page every two seconds while it is visible. The page works without this script.
"use strict";
setInterval(async () => {
  if (document.hidden) return;
  let fresh;
  try {
    const answer = await fetch("index.html", { cache: "no-store" });
    if (!answer.ok) return;
    fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return; // The supervisor does not answer; try again after the next interval.
  }
  const ids = (page) => Array.from(page.querySelectorAll("tbody tr"), (row) => row.id).join(" ");
  if (ids(document) !== ids(fresh)) {
    document.querySelector("form").replaceWith(fresh.querySelector("form"));
    return;
  }
  // Replace only cells that have changed, so that the others keep the focus.
  const old = document.querySelectorAll("td");
  fresh.querySelectorAll("td").forEach((cell, n) => {
    if (old[n].innerHTML !== cell.innerHTML) old[n].innerHTML = cell.innerHTML;
  });
  document.querySelector("[name=token]").value = fresh.querySelector("[name=token]").value;
}, 2000);
