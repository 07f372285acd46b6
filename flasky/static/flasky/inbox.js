// Shows new mails as they arrive, without a reload: the page asks for itself and takes over its list.
(() => {
  const EVERY = 2000; // milliseconds
  const list = document.getElementById("mails");

  const refresh = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("mails");
      if (!fresh || fresh.innerHTML === list.innerHTML) return;
      const focused = list.contains(document.activeElement) && document.activeElement.getAttribute("href");
      list.innerHTML = fresh.innerHTML;
      document.title = page.title;
      if (focused) list.querySelector(`a[href="${focused}"]`)?.focus({ preventScroll: true });
    } catch {
      // The site is being restarted: asked again in a moment.
    }
  };

  setInterval(refresh, EVERY);
  document.addEventListener("visibilitychange", refresh);
})();
