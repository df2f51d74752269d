// SPDX-License-Identifier: GPL-2.0

//! The samples' use of configfs in Rust: the module's directory, and attributes that are one line
//! each.

use kernel::prelude::*;

/// A number.
pub(crate) fn parse<N: core::str::FromStr>(page: &[u8]) -> Result<N> {
    let text = core::str::from_utf8(page)?;
    text.trim().parse().map_err(|_| EINVAL)
}

/// The place of a name in a list of names.
pub(crate) fn parse_name(page: &[u8], names: &[&str]) -> Result<u32> {
    let is = |name: &&str| name.as_bytes() == page.trim_ascii();
    Ok(names.iter().position(is).ok_or(EINVAL)? as u32)
}

/// An attribute in configfs: an expression that shows a value of `$it`, and one that stores a
/// user's value. An attribute without the second is read-only. An atomic number of `$it` may stand
/// for both.
macro_rules! attribute {
    ($data:ty, $id:literal, $number:ident) => {
        attribute!($data, $id, it, it.$number.load(Relaxed),
            page => it.$number.store(parse(page)?, Relaxed));
    };
    ($data:ty, $id:literal, $it:ident => $show:expr) => {
        attribute!($data, $id, $it, $show, _page => Err::<(), _>(EPERM)?);
    };
    ($data:ty, $id:literal, $it:ident, $show:expr, $page:ident => $store:expr) => {
        #[vtable]
        impl kernel::configfs::AttributeOperations<$id> for $data {
            type Data = $data;

            fn show(
                Self($it, ..): &$data,
                page: &mut [u8; kernel::page::PAGE_SIZE],
            ) -> Result<usize> {
                use kernel::fmt::Write;

                let mut writer = kernel::str::Formatter::new(page);
                writer.write_fmt(fmt!("{}\n", $show))?;
                Ok(writer.bytes_written())
            }

            fn store(Self($it, ..): &$data, $page: &[u8]) -> Result {
                let _ = $it;
                $store;
                Ok(())
            }
        }
    };
}

/// The module `$module`: its directory `$name` in configfs, of type `$disk`, owns everything.
/// Directories in it are of type `$path`.
macro_rules! configuration {
    ($module:ident, $name:literal, $disk:ty, $path:ty, [$($attribute:ident: $id:literal),*]) => {
        #[pin_data]
        struct $module {
            #[pin]
            configuration: kernel::configfs::Subsystem<$disk>,
        }

        impl kernel::InPlaceModule for $module {
            fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
                let item_type = kernel::configfs::configfs_attrs! {
                    container: kernel::configfs::Subsystem<$disk>,
                    data: $disk,
                    child: $path,
                    attributes: [$($attribute: $id),*],
                };
                let disk = <$disk>::new();

                try_pin_init!(Self {
                    configuration <-
                        kernel::configfs::Subsystem::new($name, item_type, disk),
                }? Error)
            }
        }
    };
}
