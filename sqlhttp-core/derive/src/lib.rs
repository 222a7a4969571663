//! The derive macro `FromRow` of `sqlhttp-core`, which reads a row of a result into a struct. Programs use it through
//! the feature `derive` of that crate.
//!
//! ```ignore
//! use sqlhttp_core::{Database, Error, Executor as _, FromRow};
//!
//! #[derive(Debug, FromRow)]
//! struct User {
//!     id: i64,
//!     #[sqlhttp(rename = "full name")]
//!     name: String,
//!     // NULL is `None`. In a field of another type, it is an error.
//!     email: Option<String>,
//!     // 0 if the result has no such column.
//!     #[sqlhttp(default)]
//!     logins: u32,
//!     // Never a column.
//!     #[sqlhttp(skip)]
//!     selected: bool,
//! }
//!
//! // The columns by index.
//! #[derive(FromRow)]
//! struct Count(String, u64);
//!
//! async fn run(db: &Database) -> Result<(), Error> {
//!     let user: User = db.query_one("SELECT * FROM users WHERE id = ?", [7]).await?;
//!     println!("{user:?}");
//!     let sql = "SELECT substr(email, instr(email, '@') + 1) AS host, count(*) FROM users
//!         WHERE email LIKE '%@%' GROUP BY host";
//!     let mut counts = db.query_stream::<Count>(sql, ()).await?;
//!     while let Some(count) = counts.next().await {
//!         let Count(host, users) = count?;
//!         println!("{users} at {host}");
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Limits
//!
//! The macro writes an implementation of `FromRow` and nothing else: no SQL, no table, no parameters, and no check of
//! SQL at compile time. Fields own their values. Enums, and structs that share a row with others, are not supported.
//! Use something else in these cases:
//!
//! * tuples (`Vec<(i64, String)>`): a query with few columns, used once
//! * `Deserialized` of `sqlhttp-core` (feature `serde`): the type implements `serde::Deserialize` already, or needs
//!   serde's attributes
//! * an implementation of `FromRow` by hand: the fields do not correspond to columns
//! * [sqlx](https://docs.rs/sqlx): SQL that is checked against a database at compile time
//!
//! # Costs
//!
//! | work | cost |
//! |---|---|
//! | reading a field by name | the conversion of the value, and comparisons with the names of the columns before it |
//! | reading a field of a tuple struct | the conversion of the value |
//! | compiling | this crate, and `syn` without its feature `full` |
//!
//! Rows are read on the thread of the caller; in a closure of a transaction, on the thread of the closure.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Field, Fields, LitStr, Member, parse_macro_input};

/// Implements `sqlhttp_core::FromRow` for a struct.
///
/// A field takes the value of the column with its name, a field of a tuple struct that of the column with its index.
/// Attributes of a field:
///
/// * `#[sqlhttp(rename = "column")]`: the name of the column.
/// * `#[sqlhttp(default)]`: `Default::default()` if the result has no such column.
/// * `#[sqlhttp(skip)]`: always `Default::default()`.
#[proc_macro_derive(FromRow, attributes(sqlhttp))]
pub fn derive_from_row(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    from_row(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn from_row(input: &DeriveInput) -> Result<TokenStream, Error> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "FromRow can be derived for structs only"));
    };
    if matches!(data.fields, Fields::Unit) {
        return Err(Error::new_spanned(&input.ident, "the struct has no fields"));
    }
    let values = data.fields.iter().enumerate().map(|(index, field)| value(index, field));
    let values = values.collect::<Result<Vec<_>, Error>>()?;
    let (name, (generics, arguments, bounds)) = (&input.ident, input.generics.split_for_impl());
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::sqlhttp_core::FromRow for #name #arguments #bounds {
            fn from_row(
                row: &::sqlhttp_core::Row<'_>,
            ) -> ::core::result::Result<Self, ::sqlhttp_core::RowError> {
                ::core::result::Result::Ok(Self { #(#values),* })
            }
        }
    })
}

/// The attributes of a field.
#[derive(Default)]
struct Attributes {
    rename: Option<LitStr>,
    default: bool,
    skip: bool,
}

impl Attributes {
    fn of(field: &Field) -> Result<Attributes, Error> {
        let mut attributes = Attributes::default();
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("sqlhttp")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("rename") {
                    attributes.rename = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("default") {
                    attributes.default = true;
                } else if meta.path.is_ident("skip") {
                    attributes.skip = true;
                } else {
                    return Err(meta.error("the attributes are rename, default and skip"));
                }
                Ok(())
            })?;
        }
        Ok(attributes)
    }
}

/// Returns the member of a field and the expression of its value.
fn value(index: usize, field: &Field) -> Result<TokenStream, Error> {
    let Attributes { rename, default, skip } = Attributes::of(field)?;
    let member = field.ident.clone().map_or(Member::from(index), Member::Named);
    let column = match (&rename, &field.ident) {
        (Some(name), _) => quote!(#name),
        // `r#type` is the column `type`.
        (None, Some(ident)) => {
            let name = ident.to_string();
            let name = name.strip_prefix("r#").unwrap_or(&name);
            quote!(#name)
        }
        (None, None) => quote!(#index),
    };
    let read = quote!(row.get(#column));
    Ok(match (skip, default) {
        (true, _) => quote!(#member: ::core::default::Default::default()),
        (false, true) => quote! {
            #member: match #read {
                ::core::result::Result::Err(::sqlhttp_core::RowError::NoColumn { .. }) => {
                    ::core::default::Default::default()
                }
                read => read?,
            }
        },
        (false, false) => quote!(#member: #read?),
    })
}
