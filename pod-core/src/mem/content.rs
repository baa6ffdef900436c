//! What a simulated file holds: pages, and holes between them.

use std::collections::BTreeMap;

const PAGE: u64 = 4096;

/// The content of a file. A page that is missing is a hole and reads as zeros; a page may be shorter
/// than [`PAGE`], and its rest is zeros too.
#[derive(Debug, Default)]
pub(super) struct Content {
    size: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of pages, as a disk counts them.
    pub(super) fn allocated(&self) -> u64 {
        self.pages.len() as u64 * PAGE
    }

    /// How many more bytes of pages a write of `len` bytes at `offset` takes.
    pub(super) fn growth(&self, offset: u64, len: usize) -> u64 {
        if len == 0 {
            return 0;
        }
        let (first, last) = (offset / PAGE, (offset + len as u64 - 1) / PAGE);
        let there = self.pages.range(first..=last).count() as u64;
        (last - first + 1 - there) * PAGE
    }

    pub(super) fn read_at(&self, offset: u64, buf: &mut [u8]) -> usize {
        let n = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let buf = &mut buf[..n];
        let mut done = 0;
        while done < n {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let take = (PAGE as usize - within).min(n - done);
            let out = &mut buf[done..done + take];
            let page = self.pages.get(&(at / PAGE)).map_or(&[][..], Vec::as_slice);
            let held = page.len().saturating_sub(within).min(take);
            if held > 0 {
                out[..held].copy_from_slice(&page[within..within + held]);
            }
            out[held..].fill(0);
            done += take;
        }
        n
    }

    pub(super) fn write_at(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let take = (PAGE as usize - within).min(bytes.len() - done);
            let page = self.pages.entry(at / PAGE).or_default();
            if page.len() < within + take {
                page.resize(within + take, 0);
            }
            page[within..within + take].copy_from_slice(&bytes[done..done + take]);
            done += take;
        }
        if !bytes.is_empty() {
            self.size = self.size.max(offset + bytes.len() as u64);
        }
    }

    pub(super) fn set_size(&mut self, size: u64) {
        self.pages.split_off(&size.div_ceil(PAGE));
        if let Some(page) = self.pages.get_mut(&(size / PAGE)) {
            page.truncate((size % PAGE) as usize);
        }
        self.size = size;
    }

    /// The next run of data at or after `from`: its start and length. `None` when only a hole is left.
    pub(super) fn next_data(&self, from: u64) -> Option<(u64, u64)> {
        let mut pages = self.pages.range(from / PAGE..).map(|(i, _)| *i);
        let first = pages.next()?;
        let mut last = first;
        for page in pages {
            if page != last + 1 {
                break;
            }
            last = page;
        }
        let start = (first * PAGE).max(from);
        let end = ((last + 1) * PAGE).min(self.size);
        (start < end).then(|| (start, end - start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_as_a_flat_file(ops in proptest::collection::vec((0u64..20_000, 0usize..9_000, any::<u8>(), any::<bool>()), 1..20)) {
            let (mut sparse, mut flat) = (Content::default(), Vec::<u8>::new());
            for (offset, len, byte, shrink) in ops {
                if shrink {
                    sparse.set_size(offset);
                    flat.resize(offset as usize, 0);
                } else {
                    let end = offset as usize + len;
                    let before = sparse.allocated();
                    let growth = sparse.growth(offset, len);
                    sparse.write_at(offset, &vec![byte; len]);
                    prop_assert_eq!(sparse.allocated(), before + growth);
                    if len > 0 && flat.len() < end {
                        flat.resize(end, 0);
                    }
                    if len > 0 {
                        flat[offset as usize..end].fill(byte);
                    }
                }
            }
            prop_assert_eq!(sparse.size(), flat.len() as u64);
            let mut all = vec![1; flat.len() + 10];
            let n = sparse.read_at(0, &mut all);
            prop_assert_eq!(&all[..n], &flat[..]);
            // What lies outside the runs of data is zero.
            let mut covered = vec![0u8; flat.len()];
            let mut at = 0;
            while let Some((start, len)) = sparse.next_data(at) {
                let run = start as usize..(start + len) as usize;
                covered[run.clone()].copy_from_slice(&flat[run]);
                at = start + len;
            }
            prop_assert_eq!(covered, flat);
        }
    }

    #[test]
    fn a_hole_takes_no_pages() {
        let mut c = Content::default();
        c.set_size(1 << 30);
        c.write_at(500 << 20, b"x");
        assert_eq!((c.size(), c.allocated()), (1 << 30, PAGE));
        assert_eq!(c.next_data(0), Some((500 << 20, PAGE)));
        assert_eq!(c.next_data((500 << 20) + PAGE), None);
    }
}
