// The console's script. Pages work without it; with it they count down, refresh themselves when
// something changed, keep what was typed, and copy.
(() => {
  "use strict";

  // ---- Times. The server says how much is left; the machine's own clock is not asked. ----

  const span = (seconds) => {
    const s = Math.max(0, seconds);
    if (s < 60) return `${s} s`;
    const [large, largeUnit, small, smallUnit] =
      s < 3600 ? [Math.floor(s / 60), "min", s % 60, "s"]
      : s < 86400 ? [Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min"]
      : [Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h"];
    return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
  };

  const age = (seconds) => {
    if (seconds < 10) return "just now";
    if (seconds < 60) return `${seconds} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} d ago`;
  };

  const urgency = (left) => (left <= 0 ? "over" : left <= 60 ? "now" : left <= 300 ? "soon" : "calm");

  let loaded = performance.now();
  let changed = -Infinity;

  const put = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const tick = () => {
    const gone = Math.floor((performance.now() - loaded) / 1000);
    let ended = false;
    for (const element of document.querySelectorAll("time[data-left]")) {
      const before = Number(element.dataset.left);
      const left = before - gone;
      put(element, left <= 0 ? "time is up" : span(left));
      element.className = `left ${urgency(left)}`;
      if (before > 0 && left <= 0 && !element.dataset.ended) {
        element.dataset.ended = "1";
        ended = true;
      }
    }
    for (const element of document.querySelectorAll("time[data-ago]")) {
      put(element, age(Number(element.dataset.ago) + gone));
    }
    if (ended) refreshSoon(1500);
  };

  // ---- Copying ----

  const showCopyButtons = () => {
    if (!navigator.clipboard) return;
    for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = false;
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    if (!source) return;
    try {
      await navigator.clipboard.writeText(source.dataset.value);
      button.textContent = "Copied";
      say("Copied.");
    } catch {
      button.textContent = "Select it by hand";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });

  // ---- Passkeys: before such a form is sent, the browser makes or uses one. ----

  const text = (bytes) =>
    btoa(String.fromCharCode(...new Uint8Array(bytes)))
      .replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  const bytes = (encoded) =>
    Uint8Array.from(atob(encoded.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

  const field = (form, name) => form.querySelector(`[name=${name}]`)?.value ?? "";

  const putField = (form, name, value) => {
    const input = form.querySelector(`[name=${name}]`) ?? document.createElement("input");
    input.type = "hidden";
    input.name = name;
    input.value = value;
    form.append(input);
  };

  // The same terms as the form sends; what is signed is what is granted.
  const granted = (form) => {
    if (!form.querySelector("[name=grant]:checked")) return {};
    const open = [...form.querySelectorAll("[data-grant-open]:checked")].map((box) => box.value);
    const terms = { for: field(form, "grant_for"), uses: Number(field(form, "grant_uses")), open };
    return { grant: terms };
  };

  const ask = async (form) => {
    const kind = form.dataset.passkey;
    // A form's text arrives with CR LF and is kept with LF; what is signed is what is kept.
    // What lifts a rule in an emergency is signed as that, and is no vote.
    const vote = (kind === "vote" || kind === "lift") && {
      verdict: "approve",
      reason: field(form, "reason").replace(/\r\n?/g, "\n") || null,
      digest: field(form, "digest"),
      act: field(form, "act"),
      ...granted(form),
      ...(kind === "lift" && { lifts: field(form, "rule") }),
    };
    const answer = await fetch(form.dataset.options, {
      method: "POST", credentials: "same-origin", cache: "no-store",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": field(form, "csrf") },
      body: vote ? JSON.stringify(vote) : null,
    });
    const options = await answer.json();
    if (!answer.ok) throw new Error([options.title, options.detail].filter(Boolean).join(". "));
    return options;
  };

  const make = async (form, options) => {
    const made = await navigator.credentials.create({
      publicKey: {
        challenge: bytes(options.challenge),
        rp: { id: options.site, name: "Countersign" },
        user: { id: bytes(options.user), name: options.name, displayName: options.name },
        pubKeyCredParams: [-7, -8, -257].map((alg) => ({ type: "public-key", alg })),
        excludeCredentials: options.passkeys.map((id) => ({ type: "public-key", id: bytes(id) })),
        authenticatorSelection: { residentKey: "required", userVerification: "required" },
        attestation: "none",
      },
    });
    putField(form, "passkey_authenticator_data", text(made.response.getAuthenticatorData()));
    return made;
  };

  const sign = async (form, options) => {
    const signed = await navigator.credentials.get({
      publicKey: {
        challenge: bytes(options.challenge),
        rpId: options.site,
        allowCredentials: options.passkeys.map((id) => ({ type: "public-key", id: bytes(id) })),
        userVerification: "required",
      },
    });
    putField(form, "passkey", text(signed.rawId));
    putField(form, "passkey_authenticator_data", text(signed.response.authenticatorData));
    putField(form, "passkey_signature", text(signed.response.signature));
    return signed;
  };

  // Passkeys are for one address, and so is being signed in.
  const elsewhere = (form) => form.dataset.origin && form.dataset.origin !== location.origin;

  const sayElsewhere = (form) => {
    const problem = form.querySelector("[data-passkey-problem]");
    if (!problem) return;
    const link = document.createElement("a");
    link.href = form.dataset.origin + location.pathname;
    put(link, link.href);
    problem.replaceChildren("Passkeys work only at another address of this gateway. Sign in there: ", link);
    problem.hidden = false;
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    if (elsewhere(form)) sayElsewhere(form);
  }

  const usePasskey = async (form) => {
    const problem = form.querySelector("[data-passkey-problem]");
    const pressed = form.querySelector("button[type=submit]");
    // While the browser asks, the page neither refreshes nor sends twice.
    form.dataset.sent = "1";
    if (problem) problem.hidden = true;
    try {
      if (!window.PublicKeyCredential) throw new Error("This browser has no passkeys here.");
      const options = await ask(form);
      const used = await (form.dataset.passkey === "add" ? make : sign)(form, options);
      putField(form, "passkey_challenge", options.token);
      putField(form, "passkey_client_data", text(used.response.clientDataJSON));
      form.dataset.signed = "1";
      delete form.dataset.sent;
      form.requestSubmit(pressed);
    } catch (error) {
      delete form.dataset.sent;
      const refused = error.name === "NotAllowedError";
      const message = refused ? "Nothing was signed: it was cancelled, or took too long." : error.message;
      if (problem) {
        put(problem, message);
        problem.hidden = false;
      }
      say(message);
    }
  };

  // ---- Forms: an act is sent once; a jump to a form lands in its first field. ----

  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    if (event.target.dataset.passkey && !event.target.dataset.signed) {
      event.preventDefault();
      if (elsewhere(event.target)) sayElsewhere(event.target);
      else if (!event.target.dataset.sent) usePasskey(event.target);
      return;
    }
    if (event.target.dataset.sent) {
      event.preventDefault();
      return;
    }
    // What was pressed may have been another button a moment ago.
    if (performance.now() - changed < 700) {
      event.preventDefault();
      say("The page has just changed. Look again, then press again.");
      showState("The page has just changed. Look again, then press again.");
      return;
    }
    event.target.dataset.sent = "1";
    // After the browser has read which button was pressed.
    setTimeout(() => {
      for (const button of event.target.querySelectorAll("button")) button.disabled = true;
    });
  });

  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    for (const form of document.querySelectorAll("form[data-sent]")) {
      delete form.dataset.sent;
      delete form.dataset.signed;
      for (const button of form.querySelectorAll("button")) button.disabled = false;
    }
    listen();
    refreshSoon(0);
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.(".bar a[href^='#']");
    const form = link && document.getElementById(link.hash.slice(1));
    if (!form) return;
    const field = form.querySelector("input:not([type=hidden]), textarea");
    // After the browser has followed the link.
    setTimeout(() => field?.focus({ preventScroll: true }));
  });

  // ---- Refreshing: fetch this page again and replace its main part. ----

  const say = (text) => {
    const live = document.getElementById("live");
    if (live) live.textContent = text;
  };

  const showState = (text) => {
    const state = document.getElementById("live-state");
    if (state) put(state, text);
  };

  const fieldsOf = (root) => [...root.querySelectorAll("input:not([type=hidden]), textarea, select")];

  // A field is found again by its form's address and its name.
  const nameOf = (field) => {
    const form = field.closest("form");
    return `${form?.getAttribute("action")} ${form?.querySelector("[name=question]")?.value ?? ""} ${field.name}`;
  };

  const isTyped = (field) =>
    field.tagName === "SELECT"
      ? [...field.options].some((option) => option.selected !== option.defaultSelected)
      : field.value !== field.defaultValue;

  const remember = (main) => ({
    typed: new Map(fieldsOf(main).filter(isTyped).map((field) => [nameOf(field), field.value])),
    open: new Set([...main.querySelectorAll("details[open]")].map((one) => one.id)),
    scroll: [...main.querySelectorAll(".side")].map((one) => one.scrollTop),
    focus: focusOf(main),
  });

  const focusOf = (main) => {
    const element = document.activeElement;
    if (!element || !main.contains(element) || element === main) return null;
    return {
      id: element.id,
      name: element.name ? nameOf(element) : "",
      href: element.getAttribute("href"),
      label: element.textContent,
      from: element.selectionStart,
      to: element.selectionEnd,
    };
  };

  const restore = (main, memory) => {
    for (const field of fieldsOf(main)) {
      const name = nameOf(field);
      if (!memory.typed.has(name)) continue;
      field.value = memory.typed.get(name);
      memory.typed.delete(name);
    }
    for (const one of main.querySelectorAll("details")) if (memory.open.has(one.id)) one.open = true;
    [...main.querySelectorAll(".side")].forEach((one, i) => { one.scrollTop = memory.scroll[i] ?? 0; });
    restoreFocus(main, memory.focus);
    keepOrphans(main, memory.typed);
  };

  const restoreFocus = (main, focus) => {
    if (!focus) return;
    const same = (one) =>
      focus.name ? one.name && nameOf(one) === focus.name
      : focus.href ? one.getAttribute("href") === focus.href && one.textContent === focus.label
      : one.tagName === "BUTTON" && one.textContent === focus.label;
    const found = (focus.id && document.getElementById(focus.id))
      || [...main.querySelectorAll("a, button, input, textarea, select, summary")].find(same)
      || main;
    found.focus({ preventScroll: true });
    if (focus.from != null && found.setSelectionRange && found.type !== "date") {
      try { found.setSelectionRange(focus.from, focus.to); } catch { /* a field without a selection */ }
    }
  };

  // Text typed into a form that is gone is not lost.
  const keepOrphans = (main, typed) => {
    const texts = [...typed.values()].filter((text) => text.trim().length > 8);
    if (texts.length === 0) return;
    const box = document.createElement("section");
    box.className = "card kept";
    const title = document.createElement("h2");
    title.textContent = "The page changed while you were typing. What you had typed:";
    const text = document.createElement("pre");
    text.textContent = texts.join("\n\n");
    box.append(title, text);
    main.prepend(box);
  };

  const replacePart = (fresh, id) => {
    const [old, now] = [document.getElementById(id), fresh.getElementById(id)];
    if (old && now) old.replaceWith(now);
    else if (old) old.remove();
    else if (now && id === "banners") document.querySelector(".top")?.after(now);
  };

  const apply = (fresh) => {
    const [old, now] = [document.getElementById("main"), fresh.getElementById("main")];
    if (!old || !now || old.dataset.view !== now.dataset.view) {
      showState("This page is out of date. Reload it to go on.");
      say("This page is out of date. Reload it to go on.");
      return false;
    }
    const phase = (main) => main.querySelector(".head [data-phase]")?.textContent ?? "";
    const before = phase(old);
    const memory = remember(old);
    old.replaceWith(now);
    restore(now, memory);
    replacePart(fresh, "banners");
    const [places, freshPlaces] = [document.querySelector(".places"), fresh.querySelector(".places")];
    if (places && freshPlaces && !places.contains(document.activeElement)) places.replaceWith(freshPlaces);
    document.title = fresh.title;
    loaded = performance.now();
    changed = loaded;
    tick();
    showCopyButtons();
    say(phase(now) === before ? "This page was updated." : `This request is now ${phase(now)}.`);
    return true;
  };

  let timer = 0;
  let busy = false;
  let again = false;

  const refreshSoon = (delay) => {
    if (!document.body.dataset.page) return;
    clearTimeout(timer);
    timer = setTimeout(refresh, delay);
  };

  // Whoever waits in an open page for something to decide must see that nothing comes any more.
  const signedOut = () => {
    if (document.getElementById("signed-out")) return;
    const notice = document.createElement("div");
    notice.id = "signed-out";
    notice.className = "flash refused";
    notice.setAttribute("role", "alert");
    const text = document.createElement("p");
    const strong = document.createElement("strong");
    strong.textContent = "You are signed out.";
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = "Sign in again";
    text.append(strong, " Nothing on this page can be decided any more, and it is not updated. ", link);
    notice.append(text);
    document.getElementById("main").before(notice);
    for (const button of document.querySelectorAll("#main button")) button.disabled = true;
    showState("You are signed out.");
  };

  const refresh = async () => {
    if (busy) { again = true; return; }
    // An act is under way; its answer is a whole page.
    if (document.querySelector("form[data-sent]")) return;
    busy = true;
    try {
      const answer = await fetch(document.body.dataset.page, {
        headers: { Accept: "text/html" }, credentials: "same-origin", cache: "no-store",
      });
      if (answer.status === 401) { signedOut(); return; }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!document.querySelector("form[data-sent]")) apply(fresh);
    } catch {
      showState("The gateway can't be reached. What you see may be out of date.");
    } finally {
      busy = false;
      if (again) { again = false; refreshSoon(300); }
    }
  };

  const listen = () => {
    const address = document.body.dataset.events;
    if (!address || !window.EventSource) return;
    const source = new EventSource(address);
    let was = false;
    source.addEventListener("open", () => {
      showState("Times are in UTC. This page updates itself.");
      // What happened while the stream was down is not announced again.
      if (was) refreshSoon(0);
      was = true;
    });
    source.addEventListener("error", () => {
      showState("Updates are interrupted; trying again. What you see may be out of date.");
      refreshSoon(500);
    });
    for (const name of ["message", "request", "directory", "missed"]) {
      source.addEventListener(name, () => refreshSoon(150));
    }
    window.addEventListener("pagehide", () => source.close());
  };

  showCopyButtons();
  tick();
  setInterval(tick, 1000);
  listen();
  const flash = document.getElementById("flash");
  if (flash) flash.focus({ preventScroll: true });
})();
