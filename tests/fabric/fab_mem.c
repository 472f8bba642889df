// SPDX-License-Identifier: GPL-2.0
/*
 * Which memory may an HCA touch, and how do bytes get from one scatter list to
 * another?
 *
 * Inside the fabric an ib_sge carries a kernel pointer. Where an HCA's DMA is
 * virtual, so does the one its user posts. Else that one carries a DMA address,
 * and is translated when it is posted. Regions of user memory are not served:
 * there are no user contexts to own them.
 *
 * Order of this file: regions, DMA addresses, checks, copying.
 */
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/platform_device.h>
#include <linux/slab.h>

#include "fab_hcafault.h"
#include "fabric.h"

/* --- Regions ------------------------------------------------------------- */

/**
 * fab_mr_get_dma - a region over all of the kernel's memory
 * @ibpd: protection domain
 * @access: enum ib_access_flags, not enforced: nothing on the fabric writes
 *	but into receive requests
 *
 * Return: the region, or ERR_PTR.
 */
struct ib_mr *fab_mr_get_dma(struct ib_pd *ibpd, int access)
{
	struct fab_hca *hca = to_fab_hca(ibpd->device);
	struct fab_mr *mr;
	u32 key;
	int err;

	err = fab_command_refused(hca, FAB_VERB_GET_DMA_MR, 0);
	if (err)
		return ERR_PTR(err);
	mr = kzalloc_obj(*mr, GFP_KERNEL);
	if (!mr)
		return ERR_PTR(-ENOMEM);

	err = xa_alloc_cyclic(&hca->mrs, &key, mr,
			      XA_LIMIT(1, FAB_LOCAL_LKEY - 1), &hca->next_mr,
			      GFP_KERNEL);
	if (err < 0) {
		kfree(mr);
		return ERR_PTR(err);
	}

	mr->ibmr.lkey = key;
	mr->ibmr.rkey = key;
	return &mr->ibmr;
}

/* ib_core demands the entry; without user contexts nobody can get here. */
struct ib_mr *fab_mr_reg_user(struct ib_pd *ibpd, u64 start, u64 length,
			      u64 virt, int access, FAB_DMAH_PARAM
			      struct ib_udata *udata)
{
	return ERR_PTR(-EOPNOTSUPP);
}

int fab_mr_dereg(struct ib_mr *ibmr, struct ib_udata *udata)
{
	struct fab_hca *hca = to_fab_hca(ibmr->device);

	fab_command(hca, FAB_VERB_DEREG_MR, 0);
	xa_erase(&hca->mrs, ibmr->lkey);
	kfree(container_of(ibmr, struct fab_mr, ibmr));
	return 0;
}

/* --- DMA addresses ------------------------------------------------------- */

/**
 * fab_dma_create - make the device that DMA addresses are mapped for
 * @hca: the HCA; its parent is there
 *
 * A device like any other on the platform bus, so that the kernel's DMA API
 * does, and checks, what it does for hardware.
 *
 * Return: 0, also when the HCA's shape asks for none, or an error.
 */
int fab_dma_create(struct fab_hca *hca)
{
	struct platform_device_info info = {
		.parent = hca->parent,
		.name = "ib_fabric_dma",
		.id = hca->node->index,
		.dma_mask = DMA_BIT_MASK(64),
	};
	struct platform_device *dma;

	if (!hca->node->shape.dma)
		return 0;

	dma = platform_device_register_full(&info);
	if (IS_ERR(dma))
		return PTR_ERR(dma);

	hca->dma = dma;
	return 0;
}

void fab_dma_destroy(struct fab_hca *hca)
{
	platform_device_unregister(hca->dma);
}

/*
 * No IOMMU stands before a device that only software knows, so the address is
 * one of memory. What is none, as a pointer that nobody mapped, loses its key.
 */
static void fab_sge_translate(struct fab_hca *hca, struct ib_sge *sge)
{
	phys_addr_t phys = dma_to_phys(&hca->dma->dev, sge->addr);

	if (!sge->length)
		return;
	if (pfn_valid(PHYS_PFN(phys))) {
		sge->addr = (uintptr_t)phys_to_virt(phys);
		return;
	}

	fab_misuse(hca, FAB_MISUSE_POST_DMA,
		   "a work request has an address that was not mapped");
	sge->lkey = 0;
}

/**
 * fab_sges_take - take over a list that was posted
 * @hca: the HCA
 * @to: where the fabric keeps it
 * @from: as the user of the HCA has it
 * @num: its length
 *
 * Context: any.
 */
void fab_sges_take(struct fab_hca *hca, struct ib_sge *to,
		   const struct ib_sge *from, unsigned int num)
{
	unsigned int i;

	memcpy(to, from, num * sizeof(*to));
	if (likely(!hca->dma))
		return;

	for (i = 0; i < num; i++)
		fab_sge_translate(hca, &to[i]);
}

/* --- Checks -------------------------------------------------------------- */

/* Key 0 is nobody's: that of an HCA without a local one, too. */
static bool fab_lkey_valid(struct fab_hca *hca, u32 lkey)
{
	return lkey && (lkey == hca->ibdev.local_dma_lkey ||
			xa_load(&hca->mrs, lkey));
}

/**
 * fab_sges_valid - may the HCA read or write this list
 * @hca: the HCA
 * @sge: scatter list
 * @num: its length
 *
 * Context: any.
 * Return: true when every key is one of the HCA's. Entries of length 0 are not
 * looked at, as on real HCAs.
 */
bool fab_sges_valid(struct fab_hca *hca, const struct ib_sge *sge,
		    unsigned int num)
{
	unsigned int i;

	for (i = 0; i < num; i++) {
		if (sge[i].length && !fab_lkey_valid(hca, sge[i].lkey))
			return false;
	}

	return true;
}

/* --- Copying ------------------------------------------------------------- */

static void *fab_sge_ptr(const struct ib_sge *sge)
{
	return (void *)(uintptr_t)sge->addr;
}

/* Where in a scatter list the next byte goes. */
struct fab_cursor {
	const struct ib_sge *sge;
	u32 offset;
};

static void fab_cursor_skip(struct fab_cursor *at, u32 bytes)
{
	at->offset += bytes;
	while (at->offset && at->offset >= at->sge->length) {
		at->offset -= at->sge->length;
		at->sge++;
	}
}

/* The caller has checked that the list has room for @length bytes. */
static void fab_cursor_write(struct fab_cursor *at, const void *from,
			     u32 length)
{
	while (length) {
		u32 room = at->sge->length - at->offset;
		u32 part = min(room, length);

		memcpy(fab_sge_ptr(at->sge) + at->offset, from, part);
		from += part;
		length -= part;
		at->offset += part;
		if (at->offset == at->sge->length) {
			at->sge++;
			at->offset = 0;
		}
	}
}

/**
 * fab_copy - one scatter list into another
 * @to: destination, with room for all of it behind @to_offset
 * @to_offset: bytes of the destination to leave alone
 * @from: source
 * @num_from: its length
 */
void fab_copy(const struct ib_sge *to, u32 to_offset,
	      const struct ib_sge *from, unsigned int num_from)
{
	struct fab_cursor at = { .sge = to };
	unsigned int i;

	fab_cursor_skip(&at, to_offset);
	for (i = 0; i < num_from; i++)
		fab_cursor_write(&at, fab_sge_ptr(&from[i]), from[i].length);
}

/**
 * fab_copy_from - a scatter list into flat memory
 * @to: destination, large enough
 * @from: source
 * @num_from: its length
 */
void fab_copy_from(void *to, const struct ib_sge *from, unsigned int num_from)
{
	unsigned int i;

	for (i = 0; i < num_from; i++) {
		memcpy(to, fab_sge_ptr(&from[i]), from[i].length);
		to += from[i].length;
	}
}

/**
 * fab_copy_head - the first bytes of a scatter list
 * @to: destination
 * @length: bytes; the list has no fewer
 * @from: source
 */
void fab_copy_head(void *to, u32 length, const struct ib_sge *from)
{
	for (; length; from++) {
		u32 part = min(from->length, length);

		memcpy(to, fab_sge_ptr(from), part);
		to += part;
		length -= part;
	}
}

/**
 * fab_sges_slice - a stretch of a scatter list, as a list
 * @to: where it goes, room for as many entries as @from has
 * @from: the list
 * @offset: where the stretch begins, in bytes
 * @length: its length; the list is long enough
 *
 * Return: number of entries.
 */
unsigned int fab_sges_slice(struct ib_sge *to, const struct ib_sge *from,
			    u32 offset, u32 length)
{
	unsigned int num = 0;

	for (; length; from++) {
		u32 skip = min(offset, from->length);
		u32 part = min(from->length - skip, length);

		offset -= skip;
		length -= part;
		if (!part)
			continue;
		to[num] = *from;
		to[num].addr += skip;
		to[num].length = part;
		num++;
	}

	return num;
}

/**
 * fab_sges_sum - Internet checksum of a scatter list
 * @sge: the list
 * @length: bytes from its start to sum; the list is long enough
 *
 * Return: the sum, not folded.
 */
__wsum fab_sges_sum(const struct ib_sge *sge, u32 length)
{
	__wsum sum = 0;
	u32 done = 0;

	for (; done < length; sge++) {
		u32 part = min(sge->length, length - done);
		__wsum one = csum_partial(fab_sge_ptr(sge), part, 0);

		/* Behind an odd number of bytes, high and low change places. */
		sum = csum_block_add(sum, one, done);
		done += part;
	}

	return sum;
}

/**
 * fab_copy_to - flat memory into a scatter list
 * @to: destination, with room for all of it behind @to_offset
 * @to_offset: bytes of the destination to leave alone
 * @from: source
 * @length: bytes
 */
void fab_copy_to(const struct ib_sge *to, u32 to_offset, const void *from,
		 u32 length)
{
	struct fab_cursor at = { .sge = to };

	fab_cursor_skip(&at, to_offset);
	fab_cursor_write(&at, from, length);
}
