// Keeps the newest text in view, unless the reader has scrolled away.

const root = document.documentElement;
let isFollowing = false;

/** Keep the end in view from now on. */
export function followEnd() {
  isFollowing = true;
}

addEventListener("scroll", () => {
  isFollowing = innerHeight + scrollY >= root.scrollHeight - 80;
}, { passive: true });
new ResizeObserver(() => isFollowing && scrollTo(0, root.scrollHeight)).observe(document.getElementById("log"));
