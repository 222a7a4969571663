//! The derive macro `FromRow` of `sqlhttp-core`. Programs use it through the feature `derive` of that crate.

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
