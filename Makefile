# Three commands for a fresh machine: make run, make admin (a login), make test. The rest is for development.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run admin test slow kill bench node check lint types audit messages requirements python-is-new-enough port-is-free

run: $(VENV)/.server .env port-is-free
	@$(BIN)/python manage.py migrate --skip-checks --verbosity 0
	@PORT=$(PORT) $(BIN)/python manage.py runserver --noreload 127.0.0.1:$(PORT)

# A login for /admin/ with a new password, which is printed. ADMIN is the user's name.
ADMIN ?= admin
admin: $(VENV)/.server .env
	@$(BIN)/python manage.py migrate --skip-checks --verbosity 0
	@password=$${DJANGO_SUPERUSER_PASSWORD:-$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(12))')} && \
		DJANGO_SUPERUSER_PASSWORD=$$password $(BIN)/python manage.py createsuperuser --skip-checks --verbosity 0 \
			--noinput --username "$(ADMIN)" --email "$(ADMIN)@localhost" && \
		echo "User name: $(ADMIN)  Password: $$([ "$$DJANGO_SUPERUSER_PASSWORD" ] && echo '(as given)' || echo "$$password")" || \
		{ echo "For a new password: $(BIN)/python manage.py changepassword $(ADMIN)" >&2; exit 1; }

test: $(VENV)/.dev
	@$(BIN)/python -m pytest $(ARGS)

# Real mail servers, a real browser, every row of the table of faults, thousands of names. make slow ARGS=tests/e2e runs a part.
slow: $(VENV)/.dev
	@$(BIN)/python -m pytest -m slow --ignore=tests/faults/test_kill.py $(ARGS)

KILLS ?= 200
kill: $(VENV)/.dev
	@KILLS=$(KILLS) $(BIN)/python -m pytest -m slow tests/faults/test_kill.py -n 2 -rP $(ARGS)

# Side by side with the peers, which have a virtual environment of their own. make bench ARGS="enqueue --rounds 5" runs a part.
BENCH := .venv-bench
bench: $(BENCH)/.packages
	@$(BENCH)/bin/python -m benchmarks $(ARGS)

# What the tests borrow from npm: axe, Lighthouse, html-validate, caniemail, smtp-server.
node: tests/node/node_modules
tests/node/node_modules: tests/node/package-lock.json
	@npm ci --prefix tests/node --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

# All that CI runs.
check:
	@.ci/run

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev
	@DEBUG=true $(BIN)/mypy

# Pitfalls in our code, and known vulnerabilities of the packages (needs the network; says so where there is none).
audit: $(VENV)/.dev
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive flasky notify manage.py
	@$(BIN)/python .ci/advisories

# One pip run per set of packages; the stamp is older than the list when the list has changed.
$(VENV)/.server: requirements-server.txt | $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.dev: requirements-dev.txt | $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@ $(VENV)/.server

$(BENCH)/.packages: benchmarks/requirements.txt | python-is-new-enough
	@$(PYTHON) -m venv --clear $(BENCH)
	@$(BENCH)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV): | python-is-new-enough
	@$(PYTHON) -m venv $@

.env:
	@umask 077 && key=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') && \
		sed -e "s/^SECRET_KEY=.*/SECRET_KEY=$$key/" -e "s/^MAIL_BACKEND=.*/MAIL_BACKEND=inbox/" \
			-e "s/^FLASKY_ADMIN=.*/FLASKY_ADMIN=admin@localhost/" .env.example > $@

python-is-new-enough:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else 1)' 2>/dev/null || \
		{ echo "Flasky needs Python 3.11 or newer, and '$(PYTHON)' is not: make run PYTHON=python3.12" >&2; exit 1; }

port-is-free: $(VENV)/.server
	@$(BIN)/python -c 'import socket, sys; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", int(sys.argv[1])))' $(PORT) 2>/dev/null || \
		{ echo "Port $(PORT) is not free: stop what uses it, or make run PORT=8001" >&2; exit 1; }

# Brings the catalogue up to date with the code and the templates, and compiles it. Needs GNU gettext.
messages: $(VENV)/.dev
	@DEBUG=true $(BIN)/python manage.py makemessages --locale zh_Hans --no-obsolete --add-location file \
		--ignore ".venv*" --ignore "tests/*" --ignore "benchmarks/*" --ignore "var/*"
	@DEBUG=true $(BIN)/python manage.py compilemessages --locale zh_Hans --ignore ".venv*"

requirements:
	@for name in requirements requirements-server requirements-dev benchmarks/requirements; do \
		uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
			--custom-compile-command "make requirements" $$name.in -o $$name.txt; done
