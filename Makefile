# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
#
# Two makefiles in one. Called by Kbuild it is the driver's, in a kernel tree's
# drivers/infiniband/ulp/ipoib as out of tree. Called by a user it builds the
# module for the running kernel, installs it, and starts the tests.

ifneq ($(KERNELRELEASE),)

# ---- Kbuild ----

ifneq ($(KBUILD_EXTMOD),)
obj-m += ib_ipoib.o
else
obj-$(CONFIG_INFINIBAND_IPOIB) += ib_ipoib.o
endif

ib_ipoib-y := ipoib_main.o
ib_ipoib-y += ipoib_link.o
ib_ipoib-y += ipoib_ib.o
ib_ipoib-y += ipoib_ud.o
ib_ipoib-y += ipoib_heal.o
ib_ipoib-y += ipoib_multicast.o
ib_ipoib-y += ipoib_neigh.o
ib_ipoib-y += ipoib_verbs.o
ib_ipoib-y += ipoib_ethtool.o
ib_ipoib-y += ipoib_netlink.o
ib_ipoib-y += ipoib_fs.o
ib_ipoib-y += ipoib_sa.o
ib_ipoib-y += ipoib_vlan.o

# define_trace.h includes ipoib_trace.h once more, by name
CFLAGS_ipoib_main.o := -I$(src)

# compat/ is not part of an in-tree copy
include $(wildcard $(src)/compat/Kbuild.include)

else

# ---- user ----

KDIR ?= /lib/modules/$(shell uname -r)/build
MODULE_DIR ?= updates
# what modprobe looks under; of Debian's headers `make kernelrelease` tells else
RELEASE = $$(sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' \
	$(KDIR)/include/generated/utsrelease.h)

.PHONY: all modules install clean demo check check-full lint bench profile help

all: modules

modules:
	@test -e $(KDIR)/Makefile || { \
		echo "No kernel headers in $(KDIR)." >&2; \
		echo "Install linux-headers-$$(uname -r), or name others: make KDIR=..." >&2; \
		exit 2; }
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

install: modules
	$(MAKE) -C $(KDIR) M=$(CURDIR) INSTALL_MOD_DIR=$(MODULE_DIR) modules_install
	depmod $(if $(INSTALL_MOD_PATH),-b $(INSTALL_MOD_PATH)) -a $(RELEASE)

clean:
	$(MAKE) -C $(KDIR) M=$(CURDIR) clean

demo:
	@tests/vm/bootstrap.sh
	@tests/demo

check:
	@tests/vm/bootstrap.sh
	@tests/check $(if $(ONLY),-k "$(ONLY)")

check-full:
	@tests/vm/bootstrap.sh
	@tests/check --full $(LANES)

bench:
	@tests/bench/run $(if $(ROUNDS),--rounds $(ROUNDS))

profile:
	@tests/bench/run --profile $(or $(ROW),tcp1) $(if $(DRIVER),--driver $(DRIVER))

lint:
	@tests/vm/bootstrap.sh
	@tests/lint

help:
	@echo "make              build ib_ipoib.ko for the running kernel"
	@echo "make KDIR=DIR     build it for the kernel whose headers are in DIR"
	@echo "make install      build, and install under $(MODULE_DIR)/, before the kernel's own"
	@echo "make clean        remove what was built here"
	@echo "make demo         show the driver at work on a fabric in a virtual machine"
	@echo "make check        run the everyday tests; ONLY=expr picks some"
	@echo "make check-full   run every test there is, for hours; goes on where it was cut off"
	@echo "make lint         does the code read as it should"
	@echo "make bench        measure this driver beside the kernel's own; ROUNDS=5"
	@echo "make profile      where a row's time goes: ROW=tcp1 DRIVER=ours"

endif
