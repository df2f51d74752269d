// SPDX-License-Identifier: GPL-2.0

//! The quick check of a bio's size, beside the block layer's own result.

use crate::bindings;
use crate::compat::set_bvec_offset;
use crate::wrap::bio::Bio;
use core::mem::MaybeUninit;
use kernel::prelude::*;

const CASES: u32 = 100_000;
const MOST_SEGMENTS: usize = 8;
const PAGE: u32 = bindings::PAGE_SIZE as u32;
/// Where segments begin: 4 GiB less some pages, so that some lie across that boundary.
const AT: u64 = (1 << 32) - 8 * PAGE as u64;

/// Numbers without a pattern, the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u32) as usize]
    }
}

fn limits(chance: &mut Chance) -> bindings::queue_limits {
    // SAFETY: Zero is a value of each member.
    let mut limits: bindings::queue_limits = unsafe { MaybeUninit::zeroed().assume_init() };

    limits.logical_block_size = 512;
    limits.physical_block_size = chance.of(&[512, 4096]);
    // At least two pages, so that the least limit is more than the pages that the check takes
    // unseen.
    limits.max_sectors = chance.of(&[16, 24, 64, 256, 2560]);
    limits.max_segments = chance.of(&[1, 2, 3, 4, 8, 16, 127]);
    limits.max_segment_size = chance.of(&[PAGE, 2 * PAGE, 16 * PAGE, u32::MAX, u32::MAX]);
    limits.max_fast_segment_size = PAGE;
    limits.seg_boundary_mask = chance.of(&[0xffff, 0xffff_ffff, 0xffff_ffff, usize::MAX]);
    limits.virt_boundary_mask = chance.of(&[0, PAGE as usize - 1]);
    limits.dma_alignment = chance.of(&[3, 511]);
    limits
}

/// The first of all frames, of which all follow one another in a kernel whose memory map is
/// virtual.
fn frames() -> Result<*mut bindings::page> {
    let mapped = VVec::<u8>::from_elem(0, 1, GFP_KERNEL)?;
    let address = mapped.as_ptr().cast();
    // SAFETY: An address that is mapped.
    let (page, frame) = unsafe {
        (
            bindings::vmalloc_to_page(address),
            bindings::vmalloc_to_pfn(address),
        )
    };

    Ok(page.wrapping_sub(frame as usize))
}

/// Segments of anything, most of them whole pages, none of which anybody accesses.
fn segments(
    chance: &mut Chance,
    frames: *mut bindings::page,
) -> [bindings::bio_vec; MOST_SEGMENTS] {
    core::array::from_fn(|_| {
        let whole = chance.below(8) != 0;
        let pages = chance.of(&[1, 1, 1, 2, 4, 20]);
        let frame = AT / u64::from(PAGE) + u64::from(chance.below(12));

        bindings::bio_vec {
            bv_page: frames.wrapping_add(frame as usize),
            bv_len: if whole {
                pages * PAGE
            } else {
                512 * (1 + chance.below(40))
            },
            bv_offset: if whole {
                0
            } else {
                chance.of(&[4, 512, 2048, 3584])
            },
        }
    })
}

/// A read of the segments, or of the rest of one.
fn bio(chance: &mut Chance, segments: &mut [bindings::bio_vec]) -> bindings::bio {
    // SAFETY: Zero is a value of each member.
    let mut bio: bindings::bio = unsafe { MaybeUninit::zeroed().assume_init() };
    let begin = chance.of(&[0, 0, 0, 1]).min(segments.len() - 1);
    let offset = chance
        .of(&[0, 0, 0, 512, 1024])
        .min(segments[begin].bv_len - 512);
    let whole: u32 = segments[begin..].iter().map(|segment| segment.bv_len).sum();
    let left = (whole - offset) / 512;

    bio.bi_opf = bindings::req_op_REQ_OP_READ;
    bio.bi_io_vec = segments.as_mut_ptr();
    bio.bi_vcnt = segments.len() as u16;
    bio.bi_iter.bi_sector = u64::from(chance.below(64));
    bio.bi_iter.bi_idx = begin as u32;
    set_bvec_offset(&mut bio.bi_iter, offset);
    bio.bi_iter.bi_size = 512
        * if chance.below(3) == 0 {
            1 + chance.below(left)
        } else {
            left
        };
    if chance.below(16) == 0 {
        bio.bi_flags |= 1 << bindings::BIO_CLONED;
        bio.bi_vcnt = 0;
    }
    bio
}

/// The bytes that the block layer takes in one piece at a bio's place.
fn most_bytes(bio: &bindings::bio, limits: &bindings::queue_limits) -> u32 {
    let block = limits.physical_block_size / 512;
    let begin = bio.bi_iter.bi_sector as u32 % block;
    let end = (begin + limits.max_sectors) / block * block;

    512 * (end - begin)
}

#[cfg(CONFIG_SPARSEMEM_VMEMMAP)]
#[kunit_tests(mpath_split)]
mod tests {
    use super::*;

    #[test]
    fn a_bio_that_is_passed_on_whole_need_not_be_split() -> Result {
        let mut chance = Chance(1);
        let (mut whole, mut split) = (0, 0);
        let frames = frames()?;

        for _ in 0..CASES {
            let limits = limits(&mut chance);
            let mut segments = segments(&mut chance, frames);
            let count = 1 + chance.below(MOST_SEGMENTS as u32) as usize;
            let mut bio = bio(&mut chance, &mut segments[..count]);
            let mut found = 0;
            // SAFETY: The limits and the bio are valid, and so is all that the bio leads to.
            let at = unsafe {
                bindings::bio_split_io_at(
                    &mut bio,
                    &limits,
                    &mut found,
                    most_bytes(&bio, &limits),
                    limits.dma_alignment,
                )
            };
            // SAFETY: A valid bio; the test gives it up again, so that nobody ends it.
            let ours = unsafe { Bio::from_raw(&mut bio) };
            let fits = ours.fits(&limits);

            ours.into_raw();
            check!(!fits || at == 0);
            whole += u32::from(fits);
            split += u32::from(at != 0);
        }
        // There are enough of both for the comparison to say something.
        check!(whole > CASES / 20);
        check!(split > CASES / 20);
        Ok(())
    }
}
