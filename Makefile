# msockd. `make run` and `make test` need nothing but git and make on a fresh Debian 12: they install
# what is missing and say so. `make help` lists the targets.

VERSION := 0.1.0
SOVER   := 0

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
SBINDIR    ?= $(PREFIX)/sbin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR     ?= $(PREFIX)/share/man
BASHDIR    ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR     ?= $(PREFIX)/share/zsh/site-functions
FISHDIR    ?= $(PREFIX)/share/fish/vendor_completions.d
SYSCONFDIR ?= $(PREFIX)/etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
DESTDIR    ?=

B          ?= build
PKG_CONFIG ?= pkg-config
ifeq ($(origin CC),default)
CC := gcc
endif

PACKAGES := build-essential pkg-config zlib1g-dev libssl-dev libjansson-dev libcmocka-dev \
            libconfuse-dev libdeflate-dev libedit-dev libseccomp-dev
# What handler=nats needs, to be built and to be tested. msockd goes on without.
NATS_PACKAGES := libnats-dev nats-server
# The same for msockctl top and serve.
LIVE_PACKAGES := libncurses-dev libmicrohttpd-dev libjs-chart.js
# What the page, the alerts and the dashboard are tested with.
WATCH_PACKAGES := chromium-headless-shell prometheus
# A proxy that stands in front, and file systems whose images the tests of root look at.
TEST_PACKAGES := haproxy $(if $(filter 0,$(shell id -u)),e2fsprogs xfsprogs btrfs-progs)
# The same for the Python module.
PYTHON_PACKAGES := python3-dev
LINT_PACKAGES := clang clang-format cppcheck abigail-tools groff-base $(PYTHON_PACKAGES) mypy

# --- flags -----------------------------------------------------------------------------------------

LIBS_COMMON := libssl libcrypto zlib
HAVE_LIBNATS := $(shell $(PKG_CONFIG) --exists libnats 2>/dev/null && echo 1)
CHART_JS := /usr/share/javascript/chart.js/chart.min.js
HAVE_SERVE := $(shell $(PKG_CONFIG) --exists libmicrohttpd libcrypt 2>/dev/null && \
                test -e $(CHART_JS) && echo 1)
HAVE_NCURSES := $(shell $(PKG_CONFIG) --exists ncursesw 2>/dev/null && echo 1)
HAVE_LIBDEFLATE := $(shell $(PKG_CONFIG) --exists libdeflate 2>/dev/null && echo 1)
ifeq ($(HAVE_LIBDEFLATE),1)
LIBS_COMMON += libdeflate
DEFS += -DHAVE_LIBDEFLATE=1
endif
DAEMON_LIBS = $(shell $(PKG_CONFIG) --libs $(LIBS_COMMON) jansson libconfuse libseccomp) -pthread
MSOCK_LIBS  = $(shell $(PKG_CONFIG) --libs libedit)
CLIENT_LIBS = $(shell $(PKG_CONFIG) --libs $(LIBS_COMMON) jansson)
TEST_LIBS   = $(shell $(PKG_CONFIG) --libs cmocka)

WARN := -Wall -Wextra -Wshadow -Wswitch-enum -Wmissing-prototypes -Wstrict-prototypes -Wformat=2 \
        -Wvla -Wundef -Wpointer-arith -Wwrite-strings
ifdef WERROR
WARN += -Werror
endif

OPT  ?= -O2 -g
HARD := -fstack-protector-strong -D_FORTIFY_SOURCE=2
SAN  :=
ifdef FUZZING
SANITIZE := 1
endif
ifdef SANITIZE
OPT  := -O1 -g1 -fno-omit-frame-pointer
HARD :=
SAN  := -fsanitize=address,undefined -fno-sanitize-recover=undefined
DEFS += -DMS_SANITIZE=1
endif
ifdef FUZZING
SAN  += -fsanitize=fuzzer-no-link
endif
ifdef VALGRIND
DEFS += -DMS_VALGRIND=1
endif

BASE_CFLAGS := -std=c17 -D_GNU_SOURCE -DMSOCK_VERSION_TEXT='"$(VERSION)"' $(DEFS) $(WARN) $(OPT) \
               $(HARD) $(SAN) -Iinclude -Isrc -Itools -MMD -MP
PIE_CFLAGS  := $(BASE_CFLAGS) -fPIE
PIC_CFLAGS  := $(BASE_CFLAGS) -DMSOCK_LIBRARY=1 -fPIC -fvisibility=hidden
LINK        := $(SAN) -pie -Wl,-z,relro,-z,now

# --- sources ---------------------------------------------------------------------------------------

# The sources of some folders of src/, with the folders inside them.
sources = $(wildcard $(foreach folder,$(1),src/$(folder)/*.c src/$(folder)/*/*.c))

DAEMON_SRC := $(filter-out src/master/main.c src/nats/plugin/%, \
                $(call sources,common tls bus proto stats dedup sources config nats handler worker relay master))
# What calls libnats, with what it needs of the rest.
PLUGIN_SRC := $(wildcard src/nats/plugin/*.c) $(patsubst %,src/common/%.c,base fd kernel thread)
# The client, and a worker to receive with, which has no process of its own.
CLIENT_SRC := $(call sources,client embed tls proto bus dedup sources) src/handler/outcome.c \
              $(filter-out %/worker_process.c %/child.c,$(wildcard src/worker/*.c)) \
              $(filter-out %/runtime_dir.c %/environment.c %/lock_look.c %/symbols.c,$(wildcard src/common/*.c)) \
              $(addprefix src/config/,config_options.c config_settings.c listener_tls.c listener_url.c) \
              $(addprefix src/stats/stats_,layout.c writer.c)
CTL_SRC    := $(wildcard tools/msockctl/*.c tools/msockctl/doctor/*.c)
TOP_SRC    := $(wildcard tools/msockctl/top/*.c)
SERVE_SRC  := $(wildcard tools/msockctl/serve/*.c)
SERVE_PAGE := $(addprefix tools/msockctl/serve/,page.html page.css page.js icon.svg)
MSOCK_SRC  := $(wildcard tools/msock/*.c tools/bench/*.c)
FUZZ_SRC   := $(wildcard tests/fuzz/fuzz_*.c)
UNIT_SRC   := $(wildcard tests/unit/test_*.c)
SYSTEM_SRC := $(wildcard tests/system/test_*.c)
SUPPORT_SRC := $(wildcard tests/support/*.c)
FIXTURE_SRC := $(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c))
HELPER_SRC := $(filter-out tests/system/test_%,$(wildcard tests/system/*.c)) $(SUPPORT_SRC)
PRELOAD_SRC := $(wildcard tests/preload/*.c)
MODULE_SRC := $(wildcard tests/modules/*.c) examples/chat.c

# python/: the extension module, through the stable ABI of Python 3.9. PY_LDFLAGS has it find libmsock
# beside itself; a package that has libmsock where the linker looks sets it to nothing.
PYTHON     ?= /usr/bin/python3
PYTHONDIR  ?= $(PREFIX)/lib/python3/dist-packages
PY_LDFLAGS ?= -Wl,-rpath,'$$ORIGIN/../..'
PY_SRC     := $(wildcard python/ext/*.c)
PY_FILES   := $(wildcard $(addprefix python/,msock/*.py msock/*.pyi msock/py.typed dropins/*.py dropins/*/*.py))
PY_INCLUDE := $(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))' 2>/dev/null)
PY_CFLAGS  := -I$(PY_INCLUDE) -Wno-write-strings

comma := ,
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
pic = $(patsubst %.c,$(B)/pic/%.o,$(1))

UNIT    := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(UNIT_SRC))
SYSTEM  := $(patsubst tests/system/%.c,$(B)/tests/system/%,$(SYSTEM_SRC))
PRELOAD := $(patsubst tests/preload/%.c,$(B)/tests/%.so,$(PRELOAD_SRC))
MODULES := $(patsubst %.c,$(B)/%.so,$(MODULE_SRC))
EVIL_MODULE := $(B)/tests/modules/evil.so
EXAMPLES := $(patsubst %.c,$(B)/%,$(filter-out %/chat.c %/nats_reader.c,$(wildcard examples/*.c)))
# The example, and what stands beside handler=nats in `make bench`.
NATS_EXAMPLES := $(if $(HAVE_LIBNATS),$(addprefix $(B)/,examples/nats_reader bench/nats_publish))
PROGRAMS := $(B)/msockd $(B)/msockctl $(B)/msock
# Without libnats msockd is built without it; handler=nats then says what is missing.
PLUGIN := $(if $(HAVE_LIBNATS),$(B)/msockd_nats.so)
# The same for these two commands of msockctl.
LIVE := $(if $(HAVE_NCURSES),$(B)/msockctl-top) $(if $(HAVE_SERVE),$(B)/msockctl-serve)
LIBRARIES := $(B)/libmsock.so $(B)/libmsock.a $(B)/libmsock.pc

# One short line a file; V=1 shows the commands.
ifeq ($(V),1)
say =
Q   =
else
say = @printf '  %-7s %s\n' $(1) $(2)
Q   = @
endif

# --- what is built ---------------------------------------------------------------------------------

.PHONY: all run test check-unit check-system asan valgrind lint fmt bench install uninstall clean deps \
        lint-deps test-deps help FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: $(PROGRAMS) $(LIBRARIES) $(PLUGIN) $(LIVE) $(B)/completions/msock.table

# For bash, zsh and fish, from what the programs say of themselves.
$(B)/completions/msock.table: $(PROGRAMS) $(LIVE) $(wildcard tools/completions.*)
	@echo '  GEN    ' $(@D)
	$(Q)sh tools/completions.sh $(B)

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(PIE_CFLAGS) $(CFLAGS) -c -o $@ $<

$(B)/pic/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,"$< (library)")
	$(Q)$(CC) $(PIC_CFLAGS) $(CFLAGS) -c -o $@ $<

$(B)/plugin/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,"$< (plugin)")
	$(Q)$(CC) $(BASE_CFLAGS) -fPIC -fvisibility=hidden $(CFLAGS) -c -o $@ $<

$(B)/msockd_nats.so: $(patsubst %.c,$(B)/plugin/%.o,$(PLUGIN_SRC))
	$(call say,LINK,$@)
	$(Q)$(CC) -shared $(SAN) -Wl,-z,relro,-z,now -Wl,-z,defs $(LDFLAGS) -o $@ $^ \
	    $(shell $(PKG_CONFIG) --libs libnats) -pthread

# Where `make install` is given another directory than `make` was, this is compiled again.
$(B)/plugin_dir: FORCE
	@mkdir -p $(@D)
	@echo '$(LIBDIR)/msockd' | cmp -s - $@ || echo '$(LIBDIR)/msockd' >$@

$(B)/obj/src/common/runtime_dir.o: $(B)/plugin_dir
$(B)/obj/src/common/runtime_dir.o: PIE_CFLAGS += -DMSOCK_PLUGIN_DIR='"$(LIBDIR)/msockd"'

# Everything of the daemon but its main, for the programs and for the unit tests.
$(B)/libdaemon.a: $(call obj,$(DAEMON_SRC))
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $^

$(B)/msockd: $(B)/obj/src/master/main.o $(B)/libdaemon.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK) $(LDFLAGS) -o $@ $^ $(DAEMON_LIBS)

$(B)/msockctl: $(call obj,$(CTL_SRC)) $(B)/libdaemon.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK) $(LDFLAGS) -o $@ $^ $(DAEMON_LIBS)

$(B)/msockctl-top: $(call obj,$(CTL_SRC) $(TOP_SRC)) $(B)/libdaemon.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK) $(LDFLAGS) -o $@ $^ $(DAEMON_LIBS) $(shell $(PKG_CONFIG) --libs ncursesw)

# The page and its parts, as bytes inside the program: what is served needs no file.
$(B)/serve/page.o: $(SERVE_PAGE) $(CHART_JS)
	@mkdir -p $(@D)
	@cp $^ $(@D)/
	$(call say,EMBED,$@)
	$(Q)cd $(@D) && $(LD) -r -b binary -z noexecstack -o $(@F) $(notdir $^)

$(B)/msockctl-serve: $(call obj,$(CTL_SRC) $(SERVE_SRC)) $(B)/serve/page.o $(B)/libdaemon.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK) $(LDFLAGS) -o $@ $^ $(DAEMON_LIBS) \
	    $(shell $(PKG_CONFIG) --libs libmicrohttpd libcrypt)

$(B)/msock: $(call obj,$(MSOCK_SRC)) $(B)/libmsock.a $(B)/libdaemon.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK) $(LDFLAGS) -o $@ $^ $(CLIENT_LIBS) $(MSOCK_LIBS) -lm

$(B)/libmsock.so.$(VERSION): $(call pic,$(CLIENT_SRC)) src/client/libmsock.map
	$(call say,LINK,$@)
	$(Q)$(CC) -shared $(SAN) -Wl,-soname,libmsock.so.$(SOVER) -Wl,-z,relro,-z,now -Wl,-z,defs $(LDFLAGS) \
	    -Wl,--version-script=src/client/libmsock.map -o $@ $(filter %.o,$^) $(CLIENT_LIBS)

$(B)/libmsock.so: $(B)/libmsock.so.$(VERSION)
	$(Q)ln -sf libmsock.so.$(VERSION) $(B)/libmsock.so.$(SOVER)
	$(Q)ln -sf libmsock.so.$(SOVER) $@

# One object whose hidden symbols are local, so that the archive exports msock_* and nothing else.
$(B)/libmsock.a: $(call pic,$(CLIENT_SRC))
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(LD) -r -o $(B)/libmsock-all.o $^
	$(Q)objcopy --localize-hidden $(B)/libmsock-all.o
	$(Q)$(AR) rcs $@ $(B)/libmsock-all.o

# Holds the directories that this call of make was given, and `make install` may be given others: made
# anew each time, and left alone where nothing differs.
$(B)/libmsock.pc: src/client/libmsock.pc.in FORCE
	@mkdir -p $(@D)
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(VERSION)|' -e 's|@PRIVATE@|$(LIBS_COMMON)|' $< > $@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv -f $@.new $@; fi

FORCE:

# --- Python ----------------------------------------------------------------------------------------

$(B)/obj/python/%.o: PIE_CFLAGS += $(PY_CFLAGS)
$(B)/pic/python/%.o: PIC_CFLAGS += $(PY_CFLAGS)

$(B)/python/msock/_msock.abi3.so: $(call pic,$(PY_SRC)) $(B)/libmsock.so
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -shared $(SAN) -Wl,-z,relro,-z,now $(PY_LDFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) \
	    -L$(B) -lmsock

$(B)/python/%: python/%
	@mkdir -p $(@D)
	@cp $< $@

.PHONY: python python-modules python-test install-python

# PYTHONPATH=$(B)/python then has msock, and $(B)/python/dropins the drop-ins.
python: python-deps
	@$(MAKE) --no-print-directory -j$$(nproc) python-modules

python-modules: $(B)/python/msock/_msock.abi3.so $(addprefix $(B)/,$(PY_FILES))

python-test: python-deps
	@$(MAKE) --no-print-directory -j$$(nproc) all python-modules
	@tests/run.sh $(B) $(PYTHON_TEST)

# --- set-up and the main job -----------------------------------------------------------------------

# Without them, or where they cannot be had, what needs them is not built and its tests are skipped.
.PHONY: nats-deps live-deps python-deps watch-deps
nats-deps: OPTIONAL := $(NATS_PACKAGES)
nats-deps: LACKING := handler=nats is not built
live-deps: OPTIONAL := $(LIVE_PACKAGES)
live-deps: LACKING := msockctl top and serve are not built
python-deps: OPTIONAL := $(PYTHON_PACKAGES)
python-deps: LACKING := the Python module is not built
watch-deps: OPTIONAL := $(WATCH_PACKAGES)
watch-deps: LACKING := the page and the alerts are not tested
nats-deps live-deps python-deps watch-deps:
	@dpkg-query -W $(OPTIONAL) >/dev/null 2>&1 || \
	    $(MAKE) --no-print-directory deps PACKAGES='$(OPTIONAL)' || \
	    echo "make: going on without $(OPTIONAL): $(LACKING)" >&2

lint-deps: PACKAGES += $(LINT_PACKAGES)
test-deps: PACKAGES += $(TEST_PACKAGES)
deps lint-deps test-deps:
	@missing=; for p in $(PACKAGES); do \
	    dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	if ! command -v apt-get >/dev/null; then \
	    echo "make: please install what these Debian packages hold:$$missing" >&2; exit 1; fi; \
	sudo=; if [ "$$(id -u)" != 0 ]; then sudo=sudo; \
	    command -v sudo >/dev/null || { \
	        echo "make: not root and no sudo; as root: apt-get install$$missing" >&2; exit 1; }; fi; \
	echo "installing:$$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	$$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null

run: deps
	@$(MAKE) --no-print-directory -j$$(nproc) all
	$(B)/msockd -w 8

# --- tests -----------------------------------------------------------------------------------------

$(B)/obj/tests/%.o: PIE_CFLAGS += -Itests

# What unit tests share. Each takes what it uses; fixtures of different tests may use the same names.
$(B)/libfixtures.a: $(call obj,$(FIXTURE_SRC))
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $^

$(B)/tests/unit/%: $(B)/obj/tests/unit/%.o $(call obj,$(SUPPORT_SRC)) $(B)/libfixtures.a \
                   $(B)/libdaemon.a $(B)/libmsock.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK) $(LDFLAGS) -o $@ $^ $(DAEMON_LIBS) $(TEST_LIBS)

# It fails allocations.
$(B)/tests/unit/test_no_memory: LINK += $(addprefix -Wl$(comma)--wrap=,malloc calloc realloc strdup)

# The net of these does as the test likes, also for libmsock.so.
FAKE_NET := $(addprefix $(B)/tests/unit/test_client_,names servers moves)
$(FAKE_NET): $(call obj,$(wildcard tests/unit/fake/*.c))
$(FAKE_NET): LINK += -Wl,--export-dynamic-symbol=getaddrinfo

$(B)/tests/system/%: $(B)/obj/tests/system/%.o $(call obj,$(HELPER_SRC)) $(B)/libdaemon.a $(B)/libmsock.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK) $(LDFLAGS) -o $@ $^ $(DAEMON_LIBS) $(TEST_LIBS)

# Upgrades go to the next version and back. Without names for debuggers, which hold the directory,
# a cache of compilers has most of it already.
NEXT := $(B)/next/build/msockd $(B)/next/build/msockctl
$(NEXT) &: tests/next_version.sh $(B)/msockd $(B)/msockctl
	$(call say,NEXT,$(B)/next)
	$(Q)sh $< $(B)/next
	$(Q)$(MAKE) -s -C $(B)/next B=build VERSION=0.2.0 $(if $(SANITIZE),,OPT=-O1) \
	    build/msockd build/msockctl
	@touch $(NEXT)

# It speaks TLS.
$(B)/tests/system/test_serve: TEST_LIBS += $(shell $(PKG_CONFIG) --libs libssl)

$(B)/tests/%.so: tests/preload/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=c17 -D_GNU_SOURCE $(WARN) -O2 -g -fPIC -shared -o $@ $< -ldl

# As their authors build them: with the installed header alone.
$(MODULES): $(B)/%.so: %.c include/msock_module.h tests/modules/least.h
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=c17 -D_GNU_SOURCE $(WARN) $(OPT) $(SAN) -fPIC -shared -Iinclude -o $@ $<

$(EVIL_MODULE): $(wildcard tests/modules/evil/*.c) tests/modules/evil/evil.h include/msock_module.h
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=c17 -D_GNU_SOURCE $(WARN) $(OPT) $(SAN) -fPIC -shared -Iinclude -o $@ $(filter %.c,$^)

$(EXAMPLES): $(B)/%: %.c include/msock.h include/msock_server.h $(B)/libmsock.a
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=c17 -D_GNU_SOURCE $(WARN) $(OPT) $(HARD) $(SAN) -Iinclude $(LDFLAGS) -o $@ $< \
	    $(B)/libmsock.a $(CLIENT_LIBS)

$(NATS_EXAMPLES): $(B)/%: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=c17 -D_GNU_SOURCE $(WARN) $(OPT) $(HARD) $(SAN) $(LDFLAGS) -o $@ $< \
	    $(shell $(PKG_CONFIG) --libs libnats jansson libcrypto)

.PHONY: nats-examples
nats-examples: $(NATS_EXAMPLES)

test: test-deps nats-deps live-deps python-deps $(if $(SANITIZE),,watch-deps)
	@$(MAKE) --no-print-directory -j$$(nproc) all tests
	@tests/run.sh $(B) $(UNIT) $(SYSTEM) $(PYTHON_TEST)

# Its unittests are counted as the others are. A module with sanitizers is loaded by no Python.
PYTHON_TEST := $(if $(SANITIZE)$(VALGRIND),,tests/python.sh)
HAVE_PYTHON := $(wildcard $(PY_INCLUDE)/Python.h)

.PHONY: tests
tests: all $(if $(HAVE_PYTHON),$(if $(PYTHON_TEST),python-modules)) $(UNIT) $(SYSTEM) $(NEXT) $(PRELOAD) $(MODULES) $(EVIL_MODULE) $(EXAMPLES) $(NATS_EXAMPLES)

check-unit: all $(UNIT) $(MODULES)
	@tests/run.sh $(B) $(UNIT)

check-system: all $(SYSTEM) $(NEXT) $(PRELOAD) $(MODULES) $(EVIL_MODULE) $(EXAMPLES) $(NATS_EXAMPLES)
	@tests/run.sh $(B) $(SYSTEM)

# The long forms: a million power cuts, fifty images of each file system, the crashes, and 20,000
# messages through a cluster of NATS whose leaders die.
.PHONY: torture
torture: test-deps
	@$(MAKE) --no-print-directory -j$$(nproc) all tests
	@CUT_STATES=$${CUT_STATES:-1000000} IMAGE_COPIES=$${IMAGE_COPIES:-50} LIMIT=$${LIMIT:-7200} \
	    NATS_MESSAGES=$${NATS_MESSAGES:-20000} RELAY_KILLS=$${RELAY_KILLS:-50} \
	    tests/run.sh $(B) $(B)/tests/unit/test_power_cut \
	    $(patsubst %,$(B)/tests/system/test_%,disk_images faults crash nats_cluster relay)

# Good senders, hostile peers, killed workers and reloads for SOAK_S seconds; make test has a minute.
.PHONY: soak
soak: test-deps
	@$(MAKE) --no-print-directory -j$$(nproc) all tests
	@SOAK_S=$${SOAK_S:-600} LIMIT=$$(($${SOAK_S:-600} + 900)) tests/run.sh $(B) $(B)/tests/system/test_soak
	@LEDGER_FULL=1 LIMIT=1800 tests/run.sh $(B) $(B)/tests/system/test_ledger

# Reloads and upgrades that nobody may notice; it says what it has counted. make test has some.
.PHONY: soak-long
soak-long: test-deps
	@$(MAKE) --no-print-directory -j$$(nproc) all tests
	@SOAK_RELOADS=$${SOAK_RELOADS:-10000} SOAK_UPGRADES=$${SOAK_UPGRADES:-500} \
	    MSOCK_BUILD=$(abspath $(B)) MSOCK_SOURCE=$(CURDIR) $(B)/tests/system/test_soak_changes

# Everything needs several times its time here: fewer programs run at once, and each may take longer.
asan: deps
	@JOBS=$${JOBS:-$$(($$(nproc) * 3 / 2))} LIMIT=$${LIMIT:-1800} \
	    $(MAKE) --no-print-directory B=$(B)/asan SANITIZE=1 test

# libFuzzer comes with clang. FUZZ_S= seconds for each fuzzer, FUZZ=word for some of them.
.PHONY: fuzz
fuzz: lint-deps
	@$(MAKE) --no-print-directory -j$$(nproc) B=$(B)/fuzz CC=clang FUZZING=1 fuzzers
	@tests/fuzz/run.sh $(B)/fuzz

.PHONY: fuzzers
fuzzers: $(patsubst %.c,$(B)/%,$(FUZZ_SRC))

# It looks no names up.
$(B)/tests/fuzz/fuzz_config: FUZZ_LINK = -Wl,--wrap=getaddrinfo

# What msockctl makes of the statistics.
$(B)/tests/fuzz/fuzz_stats: $(call obj,$(filter-out %/main.c,$(CTL_SRC))) $(B)/obj/tests/fuzz/msockctl.o
$(B)/obj/tests/fuzz/msockctl.o: $(B)/obj/tools/msockctl/main.o
	@mkdir -p $(@D)
	$(Q)objcopy --redefine-sym main=msockctl_main $< $@

$(B)/tests/fuzz/%: $(B)/obj/tests/fuzz/%.o $(call obj,tests/fuzz/mend.c) \
    $(B)/libfixtures.a $(B)/libdaemon.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK) -fsanitize=fuzzer $(FUZZ_LINK) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) \
	    $(DAEMON_LIBS) $(TEST_LIBS)

# Everything computes here, and its deadlines stay: no more programs at once than cores. Debian's
# valgrind has no pidfd_open, without which no child can be waited for. test_no_memory does everything
# again for each of its allocations, which takes far longer than LIMIT.
VALGRIND_OPTIONS := -q --suppressions=tests/valgrind.supp --error-exitcode=99 --leak-check=full \
                    --errors-for-leak-kinds=definite
VALGRIND_UNIT = $(filter-out %/test_exec %/test_exec_once %/test_no_memory,$(UNIT))

valgrind: deps
	$(MAKE) --no-print-directory -j$$(nproc) B=$(B)/valgrind VALGRIND=1 valgrind-run

.PHONY: valgrind-run
valgrind-run: all $(UNIT) $(MODULES)
	@JOBS=$${JOBS:-$$(nproc)} LIMIT=$${LIMIT:-900} RUNNER='valgrind $(VALGRIND_OPTIONS)' \
	    tests/run.sh $(B) $(VALGRIND_UNIT)

# --- care ------------------------------------------------------------------------------------------

SOURCES = $(shell git ls-files -co --exclude-standard '*.c' '*.h')

# Every source, compiled and not linked (base.c also as the library has it). clang knows all of its warnings without making code.
LINT_SRC = $(shell git ls-files -co --exclude-standard '*.c')

.PHONY: objects
objects: $(call obj,$(LINT_SRC)) $(call pic,src/common/base.c)

lint: lint-deps nats-deps live-deps
	@clang-format --dry-run --Werror $(SOURCES)
	$(MAKE) --no-print-directory -j$$(nproc) B=$(B)/lint-gcc CC=gcc WERROR=1 objects all
	$(MAKE) --no-print-directory -j$$(nproc) B=$(B)/lint-clang CC=clang WERROR=1 \
	    CFLAGS='$(CFLAGS) -fsyntax-only' objects
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
	    --inline-suppr --suppressions-list=.cppcheck -Iinclude -Isrc src tools python/ext
	sh tests/lint_includes.sh
	sh tests/lint_signals.sh
	sh tests/lint_threats.sh
	sh tests/lint_manuals.sh $(B)/lint-gcc
	sh tests/lint_library.sh $(B)/lint-gcc
	cd python && MYPYPATH=dropins mypy --strict --python-version 3.9 --scripts-are-modules msock \
	    dropins/minimalsockets.py dropins/tinyproto dropins/gruv_socks $$(ls -d examples/*.py)

# What editors and analysers ask for: every command that compiles.
compile_commands.json: FORCE
	@$(MAKE) --no-print-directory -nB V=1 all tests fuzzers 2>/dev/null | awk -v dir="$(CURDIR)" ' \
	    BEGIN {printf "["} \
	    / -o .*\.c( |$$)/ { \
	        for (i = 1; i <= NF; i++) if ($$i ~ /\.c$$/) file = $$i; \
	        sub(/ *\\$$/, ""); gsub(/["\\]/, "\\\\&"); \
	        printf "%s\n{\"directory\":\"%s\",\"file\":\"%s\",\"command\":\"%s\"}", n++ ? "," : "", dir, file, $$0} \
	    END {print "\n]"}' > $@

fmt:
	@clang-format -i $(SOURCES)

.PHONY: bench-programs
bench-programs: all nats-examples $(if $(HAVE_PYTHON),python-modules)

bench: deps nats-deps python-deps
	@$(MAKE) --no-print-directory -j$$(nproc) bench-programs
	B=$(B) bench/run.sh

# --- installation ----------------------------------------------------------------------------------

install: all
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig \
	    $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(SYSCONFDIR)
	install -m 755 $(B)/msockd $(DESTDIR)$(SBINDIR)/
	install -m 755 $(B)/msockctl $(B)/msock $(DESTDIR)$(BINDIR)/
	install -m 644 include/*.h $(DESTDIR)$(INCLUDEDIR)/
	install -m 644 $(B)/libmsock.a $(DESTDIR)$(LIBDIR)/
	install -m 755 $(B)/libmsock.so.$(VERSION) $(DESTDIR)$(LIBDIR)/
	ln -sf libmsock.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libmsock.so.$(SOVER)
	ln -sf libmsock.so.$(SOVER) $(DESTDIR)$(LIBDIR)/libmsock.so
	[ -z "$(strip $(PLUGIN)$(LIVE))" ] || { install -d $(DESTDIR)$(LIBDIR)/msockd && \
	    install -m 755 $(PLUGIN) $(LIVE) $(DESTDIR)$(LIBDIR)/msockd/; }
	install -m 644 $(B)/libmsock.pc $(DESTDIR)$(LIBDIR)/pkgconfig/
	[ -e $(DESTDIR)$(SYSCONFDIR)/msockd.conf ] || install -m 644 etc/msockd.conf $(DESTDIR)$(SYSCONFDIR)/
	install -d $(DESTDIR)$(UNITDIR) && install -m 644 etc/msockd.socket $(DESTDIR)$(UNITDIR)/
	sed 's|/usr/local/sbin/|$(SBINDIR)/|; s|/usr/local/etc/|$(SYSCONFDIR)/|' etc/msockd.service \
	    >$(DESTDIR)$(UNITDIR)/msockd.service
	[ ! -e $(B)/python/msock/_msock.abi3.so ] || $(MAKE) --no-print-directory install-python
	for page in docs/man/*.[1-8]; do s=$${page##*.}; \
	    install -d $(DESTDIR)$(MANDIR)/man$$s && install -m 644 $$page $(DESTDIR)$(MANDIR)/man$$s/; done
	install -d $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR)
	install -m 644 $(B)/completions/bash/* $(DESTDIR)$(BASHDIR)/
	install -m 644 $(B)/completions/zsh/* $(DESTDIR)$(ZSHDIR)/
	install -m 644 $(B)/completions/fish/* $(DESTDIR)$(FISHDIR)/

# The drop-ins have a folder of their own, which PYTHONPATH or a .pth file chooses.
install-python: python-modules
	for file in $(PY_FILES:python/%=%) msock/_msock.abi3.so; do \
	    install -D -m 644 $(B)/python/$$file $(DESTDIR)$(PYTHONDIR)/msock/$${file#msock/}; done

uninstall:
	rm -rf $(DESTDIR)$(PYTHONDIR)/msock
	rm -f $(DESTDIR)$(UNITDIR)/msockd.service $(DESTDIR)$(UNITDIR)/msockd.socket
	rm -f $(DESTDIR)$(SBINDIR)/msockd $(DESTDIR)$(BINDIR)/msockctl $(DESTDIR)$(BINDIR)/msock \
	    $(DESTDIR)$(LIBDIR)/msockd/msockd_nats.so $(DESTDIR)$(LIBDIR)/msockd/msockctl-* $(DESTDIR)$(LIBDIR)/libmsock.* $(DESTDIR)$(LIBDIR)/pkgconfig/libmsock.pc
	for header in include/*.h; do rm -f $(DESTDIR)$(INCLUDEDIR)/$${header##*/}; done
	for page in docs/man/*.[1-8]; do rm -f $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/}; done
	for name in msockd msockctl msock; do \
	    rm -f $(DESTDIR)$(BASHDIR)/$$name $(DESTDIR)$(ZSHDIR)/_$$name $(DESTDIR)$(FISHDIR)/$$name.fish; done
	! cmp -s etc/msockd.conf $(DESTDIR)$(SYSCONFDIR)/msockd.conf || rm -f $(DESTDIR)$(SYSCONFDIR)/msockd.conf

# The packages of Debian, built and tried in clean roots. MIRROR= is where these come from, else what apt
# has here.
.PHONY: deb deb-test image-test reproducible
deb deb-test image-test reproducible: PACKAGES := debootstrap dpkg-dev lintian
deb: deps
	@B=$(B) packages/build.sh

deb-test: deb
	@B=$(B) packages/test.sh

image-test: deps
	@B=$(B) packages/image.sh

reproducible: deps
	@B=$(B) packages/build.sh --twice

clean:
	rm -rf $(B)

help:
	@echo 'make run           install what is missing, build, start msockd with 8 workers'
	@echo 'make test          install what is missing, build, run all tests; TEST=journal some of them,'
	@echo '                   TEST=journal:name single ones'
	@echo 'make fuzz          libFuzzer on the protocols, JSON, the configuration, the recovery, the hand-over'
	@echo '                   and the statistics; FUZZ_S=600 seconds each, FUZZ=msp some of them'
	@echo 'make all           build the programs and the library into $(B)/'
	@echo 'make check-unit    the unit tests alone;  make check-system  the system tests alone'
	@echo 'make torture       the long forms of the tests of power cuts, disks, crashes and NATS'
	@echo 'make soak          everything at once for SOAK_S=600 seconds, with hostile peers'
	@echo 'make soak-long     SOAK_RELOADS=10000 reloads and SOAK_UPGRADES=500 upgrades under load'
	@echo 'make asan          all tests under AddressSanitizer and UBSan'
	@echo 'make python        the Python module into $(B)/python;  make python-test  its tests'
	@echo 'make valgrind      the unit tests under valgrind'
	@echo 'make lint          formatting, gcc and clang with -Werror, cppcheck, include rules, manuals, ABI'
	@echo 'make fmt           apply .clang-format;  make compile_commands.json  for editors'
	@echo 'make bench         speed beside Redis, beanstalkd, nginx, rsync, NATS and mosquitto'
	@echo 'make deb           packages of Debian into $(B)/packages, from a clean root'
	@echo 'make deb-test      install, upgrade under load, remove and purge them in another'
	@echo 'make image-test    the image of Containerfile, built and run'
	@echo 'make reproducible  the same twice, with the same bytes'
	@echo 'make install       into PREFIX=$(PREFIX) (DESTDIR honoured);  make uninstall'

-include $(shell find $(B) -path $(B)/packages -prune -o -name '*.d' -print 2>/dev/null)
