//! A macro for the options of databases and nodes.

/// Implements a method for each field of a struct that sets the field and returns the struct.
#[doc(hidden)]
#[macro_export]
macro_rules! setters {
    ($options:ident { $($field:ident: $type:ty,)* }) => {
        impl $options {
            $(
                #[doc = concat!("Sets [`", stringify!($options), "::", stringify!($field), "`](#structfield.", stringify!($field), ").")]
                #[must_use]
                pub fn $field(mut self, $field: $type) -> $options {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}
