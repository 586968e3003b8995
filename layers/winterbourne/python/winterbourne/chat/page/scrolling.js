// Keeps the newest text in view until the reader scrolls up, and tells the styles who reads on: a phone hides the head.

import { byId, log, on, root } from "./dom.js";

const endButton = byId("to-end");
let isFollowing = false;
let lastY = 0;

/** Keep the end in view from now on. */
export function followEnd() {
  isFollowing = true;
}

function scrollToEnd() {
  scrollTo(0, root.scrollHeight);
  lastY = scrollY; // the reader has not moved
}

function keepEnd() {
  if (isFollowing && log.hasChildNodes()) scrollToEnd();
  renderEnd();
}

function renderEnd() {
  endButton.hidden = !log.hasChildNodes() || root.scrollHeight - innerHeight - scrollY < 200;
}

addEventListener("scroll", () => {
  const endY = root.scrollHeight - innerHeight;
  const y = Math.min(Math.max(scrollY, 0), endY); // iOS goes beyond both ends
  const moved = y - lastY;
  if (Math.abs(moved) > 8) {
    isFollowing = moved > 0 ? isFollowing || y > endY - 80 : y > endY - 2;
    root.dataset.reading = moved > 0 && y > 56;
    lastY = y;
  }
  renderEnd();
}, { passive: true });
addEventListener("resize", keepEnd);
new ResizeObserver(keepEnd).observe(document.body);
on(endButton, "click", scrollToEnd);
