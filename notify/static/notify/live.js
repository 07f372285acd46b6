// Keeps a page of the admin up to date. Every few seconds the page is fetched, and its parts marked with data-live, and its list of rows, are
// changed into the new ones node by node, so that focus, selections and typed text stay. Without it all works by reload.
'use strict';
{
    const SECONDS = 5;
    const NOTES = {away: 'live-away', changed: 'live-changed'};
    const PARTS = '[data-live], #changelist-form';
    const FIELDS = 'input:not([type=hidden]), select, textarea';
    let request = null;
    let timer = null;

    const show = (note, visible) => {
        const element = document.getElementById(note);
        if (element) {
            element.hidden = !visible;
        }
    };

    // What makes a node the same as one of the new page, wherever it is among its siblings.
    const keyOf = (node) => {
        if (node.nodeType !== Node.ELEMENT_NODE) {
            return '';
        }
        const link = node.matches('tbody > tr') && node.querySelector('a[href]');
        return node.id || node.getAttribute('action') || (link && link.getAttribute('href')) || '';
    };

    const isAlike = (one, other) =>
        one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

    const isTyped = (field) => field.type === 'checkbox' || field.type === 'radio'
        ? field.checked !== field.defaultChecked
        : field.matches('select') ? [...field.options].some(option => option.selected !== option.defaultSelected)
            : field.value !== field.defaultValue;

    // Whether a person has begun something in it.
    const isInUse = (node) => node.nodeType === Node.ELEMENT_NODE && (
        (node.contains(document.activeElement) && document.activeElement !== document.body) ||
        [...node.querySelectorAll(FIELDS)].some(isTyped));

    const hasSelectedText = (node) => {
        const selection = window.getSelection();
        return !selection.isCollapsed && selection.containsNode(node, true);
    };

    const isKept = (name, node) =>
        (name === 'open' && node.nodeName === 'DETAILS') || (name === 'class' && node.nodeName === 'TR') ||
        (name === 'value' && node.matches(FIELDS)) || name === 'checked';

    const morphAttributes = (old, fresh) => {
        for (const {name, value} of fresh.attributes) {
            if (!isKept(name, old) && old.getAttribute(name) !== value) {
                old.setAttribute(name, value);
            }
        }
        for (const {name} of [...old.attributes]) {
            if (!isKept(name, old) && !fresh.hasAttribute(name)) {
                old.removeAttribute(name);
            }
        }
    };

    const morphChildren = (old, fresh) => {
        const wanted = new Set([...fresh.children].map(keyOf).filter(Boolean));
        const present = new Map([...old.children].map(child => [keyOf(child), child]));
        present.delete('');
        let at = old.firstChild;
        const skipUnwanted = () => {
            while (at && keyOf(at) && !wanted.has(keyOf(at))) {
                const gone = at;
                at = at.nextSibling;
                if (!isInUse(gone)) {
                    gone.remove();
                }
            }
        };
        for (const next of [...fresh.childNodes]) {
            skipUnwanted();
            const same = keyOf(next) ? present.get(keyOf(next)) : at && isAlike(at, next) ? at : null;
            if (!same) {
                old.insertBefore(next, at);
            } else if (same === at) {
                at = at.nextSibling;
                morph(same, next);
            } else {
                if (!isInUse(same)) {
                    old.insertBefore(same, at);
                }
                morph(same, next);
            }
        }
        while (at) {
            const gone = at;
            at = at.nextSibling;
            if (!keyOf(gone) || (!wanted.has(keyOf(gone)) && !isInUse(gone))) {
                gone.remove();
            }
        }
    };

    const morph = (old, fresh) => {
        if (old.nodeType !== Node.ELEMENT_NODE) {
            if (old.data !== fresh.data) {
                old.data = fresh.data;
            }
        } else if (old.nodeName !== 'IFRAME') {
            morphAttributes(old, fresh);
            morphChildren(old, fresh);
        }
    };

    const rowsOf = (list) => [...list.querySelectorAll('tbody > tr')];
    const keysOf = (list) => rowsOf(list).map(keyOf).join(' ');

    // The admin's own script knows the check boxes that were there when it began: rows come and go with the whole list,
    // and not while somebody works with it.
    const morphList = (old, fresh) => {
        const inUse = isInUse(old);
        if (keysOf(old) !== keysOf(fresh) && !inUse) {
            old.replaceWith(fresh);
            const boxes = document.querySelectorAll('tr input.action-select');
            if (boxes.length && window.Actions) {
                window.Actions(boxes);
            }
            show(NOTES.changed, false);
            return;
        }
        show(NOTES.changed, keysOf(old) !== keysOf(fresh));
        const present = new Map(rowsOf(old).map(row => [keyOf(row), row]));
        for (const row of rowsOf(fresh)) {
            if (present.has(keyOf(row))) {
                morph(present.get(keyOf(row)), row);
            }
        }
    };

    const nameOf = (part) => part.dataset.live || part.id;

    const update = (page) => {
        const fresh = new Map([...page.querySelectorAll(PARTS)].map(part => [nameOf(part), part]));
        for (const old of document.querySelectorAll(PARTS)) {
            const part = fresh.get(nameOf(old));
            if (part && !hasSelectedText(old)) {
                (old.id === 'changelist-form' ? morphList : morph)(old, part);
            }
        }
    };

    const stop = () => {
        clearTimeout(timer);
        if (request) {
            request.abort();
        }
        timer = request = null;
    };

    const plan = () => {
        clearTimeout(timer);
        timer = setTimeout(refresh, SECONDS * 1000);
    };

    const refresh = async () => {
        const mine = request = new AbortController();
        let goesOn = true;
        try {
            const answer = await fetch(location.href, {
                cache: 'no-store', headers: {'X-Live': 'yes'}, redirect: 'manual', signal: mine.signal,
            });
            const text = await answer.text();
            if (mine.signal.aborted) {
                return;
            }
            goesOn = answer.type !== 'opaqueredirect' && answer.status !== 403 && answer.status !== 404;
            show(NOTES.away, !answer.ok);
            if (answer.ok) {
                update(new DOMParser().parseFromString(text, 'text/html'));
            }
        } catch (error) {
            if (mine.signal.aborted) {
                return;
            }
            show(NOTES.away, true);
        }
        if (goesOn) {
            plan();
        }
    };

    document.addEventListener('DOMContentLoaded', () => {
        if (!document.querySelector(PARTS)) {
            return;
        }
        document.addEventListener('visibilitychange', () => {
            stop();
            if (!document.hidden) {
                refresh();
            }
        });
        document.addEventListener('submit', stop);
        window.addEventListener('pagehide', stop);
        window.addEventListener('pageshow', (event) => {
            if (event.persisted) {
                refresh();
            }
        });
        if (!document.hidden) {
            plan();
        }
    });
}
