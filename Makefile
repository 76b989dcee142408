# Autoencoders by Hand. `make` alone lists what can be typed.
#
# Chapters are found by their pages: chapters/NN-name/README.md, beside it name.c, test_name.c, judge.c, exercise.c,
# unsolved/exercise.c, solution.c, plot.gp, mutants and, where the page wants more than the program's own run, measure.c.
# Adding a chapter is adding a folder; nothing in this file changes.
# Everything that is made goes to build/. All paths are relative, so any folder will do.

ifeq ($(origin CC),default)
CC = cc
endif
# No rules but those below: the built-in ones would take `check` for a file made from check.o.
MAKEFLAGS += --no-builtin-rules
BIN := build/bin
Q := $(if $(V),,@)

CHAPTERS := $(sort $(patsubst chapters/%/README.md,%,$(wildcard chapters/[0-9][0-9]-*/README.md)))
TESTS := $(sort $(basename $(notdir $(wildcard tests/test_*.c))))
# QUICK in the environment leaves out what is long. What tests scripts only is the same for every compiler.
ifdef QUICK
TESTS := $(filter-out test_house test_setup test_data,$(TESTS))
endif
name_of = $(shell echo '$1' | sed 's/^[0-9]*-//')
number_of = $(shell echo '$1' | sed 's/^0*\([0-9]*\)-.*/\1/')

# --- the compiler -------------------------------------------------------------
# What it has is asked, not assumed: -march=native is unknown on some machines, OpenMP is missing on others.
accepts = $(shell printf 'int main(void) { return 0; }' | $(CC) $1 -x c - -o /dev/null 2>/dev/null && echo '$1')
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow $(if $(WERROR),-Werror)
OPENMP := $(call accepts,-fopenmp)
LIBRARIES := $(or $(shell pkg-config --libs libpng zlib 2>/dev/null),-lpng -lz) -lm
INCLUDES := $(shell pkg-config --cflags libpng zlib cmocka 2>/dev/null)
CMOCKA := $(or $(shell pkg-config --libs cmocka 2>/dev/null),-lcmocka)
HAVE_CMOCKA := $(shell $(CC) $(INCLUDES) -include stdarg.h -include stddef.h -include stdint.h -include setjmp.h -include cmocka.h -x c -fsyntax-only /dev/null 2>/dev/null && echo yes)
ifdef SAN
SPEED := -O1 -g -fsanitize=address -DSANITIZED -fsanitize=undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
TEST_SPEED := $(SPEED)
else
# Contracting a*b+c to one instruction is allowed, and sqrt need not set errno; nothing else that bends the rules of
# arithmetic is.
SPEED := -O3 -g $(call accepts,-march=native) -ffp-contract=fast -fno-math-errno $(OPENMP)
TEST_SPEED := -O1 -g
endif
# A test that has much to calculate says "built like the program" in its first comment, and is.
speed_of = $(if $(shell grep -l 'built like the program' $1),$(SPEED),$(TEST_SPEED))
# A core that waits for another sleeps, instead of spinning: on a busy machine that is faster by a factor.
export OMP_WAIT_POLICY ?= passive
COMMON := -std=c11 $(WARNINGS) -MMD -MP $(INCLUDES)

# A change of compiler or flags rebuilds everything.
FLAGS := build/flags
$(shell mkdir -p $(BIN); echo '$(CC) $(SPEED) $(TEST_SPEED) $(COMMON)' | cmp -s - $(FLAGS) || echo '$(CC) $(SPEED) $(TEST_SPEED) $(COMMON)' > $(FLAGS))

# --- help -----------------------------------------------------------------------
.PHONY: help chapters compile test weave verify figures data clean progress mutants bench book format lint check-cmocka
.DELETE_ON_ERROR:

help:
	@sh src/run.sh help $(CHAPTERS)

# --- chapters -------------------------------------------------------------------
# A mistake is planted in a check that is built like the chapter's own.
MUTANTS = CC='$(CC)' SPEED='$(SPEED)' TEST_SPEED='$(TEST_SPEED)' CFLAGS='$(INCLUDES)' LIBS='$(CMOCKA) $(LIBRARIES)' sh tests/mutants.sh

# What `make chapterN` runs: measure.c, which includes the program and runs it first, where a chapter has one.
run_of = $(BIN)/$(if $(wildcard chapters/$1/measure.c),measure_)$2
# The judge of the exercises; in chapters that have no judge.c yet it is part of the test.
judge_of = $(or $(wildcard chapters/$1/judge.c),chapters/$1/test_$2.c)
# Chapters that work on drawn curves say so in their program; the curves are drawn before they run.
curves_of = $(if $(shell grep -l build/curves chapters/$1/$2.c),build/curves/done)

define chapter_rules
$(BIN)/$2: chapters/$1/$2.c $(FLAGS)
	@echo "cc $2.c"
	$(Q)$(CC) $(SPEED) $(COMMON) -MF $$@.d -MT $$@ chapters/$1/$2.c -o $$@ $(LIBRARIES)

$(BIN)/measure_$2: chapters/$1/measure.c $(FLAGS)
	@echo "cc measure.c of $2.c"
	$(Q)$(CC) $(SPEED) $(COMMON) -Isrc -MF $$@.d -MT $$@ chapters/$1/measure.c -o $$@ $(LIBRARIES)

$(BIN)/test_$2: chapters/$1/test_$2.c $(FLAGS) | check-cmocka
	@echo "cc test_$2.c"
	$(Q)$(CC) $(call speed_of,chapters/$1/test_$2.c) $(COMMON) -Isrc -MF $$@.d -MT $$@ chapters/$1/test_$2.c -o $$@ $(CMOCKA) $(LIBRARIES)

# One judge for the student's exercise, the book's copy of it as it was, and the solution.
$(BIN)/exercise_$2: judged = exercise.c
$(BIN)/unsolved_$2: judged = unsolved/exercise.c
$(BIN)/solution_$2: judged = solution.c
$(BIN)/exercise_$2: chapters/$1/exercise.c
$(BIN)/unsolved_$2: chapters/$1/unsolved/exercise.c
$(BIN)/solution_$2: chapters/$1/solution.c
$(BIN)/exercise_$2 $(BIN)/unsolved_$2 $(BIN)/solution_$2: $(call judge_of,$1,$2) $(FLAGS) | check-cmocka
	@echo "cc $$(judged) of $2.c"
	$(Q)$(CC) $(call speed_of,$(call judge_of,$1,$2)) $(COMMON) -Isrc -DEXERCISE='"$$(judged)"' -MF $$@.d -MT $$@ $(call judge_of,$1,$2) -o $$@ $(CMOCKA) $(LIBRARIES)

.PHONY: chapter$3 run$3 check$3 exercise$3 figures$3 record$3 mutants$3
chapter$3: $(BIN)/$2 $(call run_of,$1,$2) $(if $(HAVE_CMOCKA),$(BIN)/test_$2) $(call curves_of,$1,$2)
	@sh src/run.sh chapter $1 $$(ARGS)
run$3: $(BIN)/$2 $(call curves_of,$1,$2)
	@sh src/run.sh program $1 $$(ARGS)
check$3: $(BIN)/test_$2
	@sh src/run.sh check $1
exercise$3: $(BIN)/exercise_$2
	@sh src/run.sh exercise $1
figures$3: chapter$3
	@sh src/run.sh figures $1
record$3: $(call run_of,$1,$2) $(call curves_of,$1,$2)
	@sh src/run.sh record $1
mutants$3: | check-cmocka
	@$(MUTANTS) $1

PROGRAMS += $(sort $(BIN)/$2 $(call run_of,$1,$2))
CHECKS += $(BIN)/test_$2
JUDGES += $(BIN)/unsolved_$2 $(BIN)/solution_$2
CHAPTER_RUNS += chapter$3
FIGURES += figures$3
endef
$(foreach c,$(CHAPTERS),$(eval $(call chapter_rules,$c,$(call name_of,$c),$(call number_of,$c))))

chapter% run% check% exercise%:
	@echo "make: there is no chapter $*; make help lists those there are" >&2; exit 1

# One after the other: each of them uses all cores.
chapters:
	@for c in $(CHAPTER_RUNS); do $(MAKE) --no-print-directory $$c ARGS= || exit 1; done

progress:
	@MAKE='$(MAKE)' sh src/run.sh progress $(CHAPTERS)

check-cmocka:
	@$(if $(HAVE_CMOCKA),:,echo "make: cmocka is missing, which the checks need; sh src/setup.sh installs it" >&2; exit 1)

# --- what serves all chapters ---------------------------------------------------
# Without contraction, so that the curves have the same bytes everywhere.
$(BIN)/weave $(BIN)/curves: $(BIN)/%: src/%.c $(FLAGS)
	@echo "cc $*.c"
	$(Q)$(CC) $(if $(SAN),$(SPEED),-O2 -g) -ffp-contract=off $(COMMON) -MF $@.d -MT $@ $< -o $@ -lm

build/curves/done: src/curves.c | $(BIN)/curves
	@$(BIN)/curves --out build/curves && touch $@

data:
	@sh src/fetch-data.sh

weave: $(BIN)/weave
	@$(BIN)/weave --write

# One after the other: each runs its chapter, which uses all cores.
figures:
	@for c in $(FIGURES); do $(MAKE) --no-print-directory $$c || exit 1; done

# The numbers in the text against a fresh run of everything they come from.
verify: $(BIN)/weave $(JUDGES)
	@$(MAKE) --no-print-directory chapters
	@$(MAKE) --no-print-directory mutants
	@for c in $(CHAPTERS); do sh src/run.sh unsolved $$c >/dev/null 2>&1; done; $(BIN)/weave --verify

# --- tests ----------------------------------------------------------------------
$(TESTS:%=$(BIN)/%): $(BIN)/%: tests/%.c $(FLAGS) | check-cmocka
	@echo "cc $*.c"
	$(Q)$(CC) $(call speed_of,$<) -D_POSIX_C_SOURCE=200809L -D_XOPEN_SOURCE=700 $(COMMON) -Isrc -MF $@.d -MT $@ $< -o $@ $(CMOCKA) $(LIBRARIES)

compile: $(BIN)/weave $(BIN)/curves $(PROGRAMS) $(CHECKS) $(JUDGES) $(TESTS:%=$(BIN)/%)

# Compiled on all cores, even without -j. The longest test begins first. What the student writes, exercise.c, is neither
# compiled nor judged here: the book's own copies of it, in unsolved/, must fail, and its solutions pass.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
test: | check-cmocka
	@$(MAKE) --no-print-directory -j$(CORES) compile build/curves/done
	@sh src/run.sh test "$(CHAPTERS)" test_programs $(filter-out test_programs,$(TESTS))

mutants: | check-cmocka
	@$(MUTANTS) $(CHAPTERS)

# --- the rest -------------------------------------------------------------------
# Chapters that measure speed have a bench.sh.
bench: $(PROGRAMS)
	@for b in $(wildcard chapters/*/bench.sh); do CC='$(CC)' CFLAGS='$(SPEED) $(WARNINGS) $(INCLUDES)' LIBS='$(LIBRARIES)' RECORD='$(RECORD)' sh $$b || exit 1; done

book:
	@sh src/book/make.sh $(CHAPTERS)

SOURCES := $(wildcard src/*.[ch] tests/*.[ch] chapters/*/*.c)
format:
	clang-format -i $(SOURCES)
lint:
	clang-format --dry-run --Werror $(SOURCES)

clean:
	rm -rf build

-include $(wildcard $(BIN)/*.d)
