//! `#[derive(View)]`.
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{DeriveInput, Ident, spanned::Spanned as _};

use crate::{
    attr::{Errors, code_at, code_at_type, items, name_of, named_fields},
    body,
};

pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let fields = named_fields(input, "a view", &mut errors);
    let model = body::model(input, "view", "of", &mut errors);
    for item in
        fields.iter().flatten().flat_map(|field| items(&field.attrs, "view", &mut errors)).collect::<Vec<_>>()
    {
        let message =
            format_args!("`{}` is not known here: the fields of a view take no attribute", item.key);
        errors.at(item.key.span(), message);
    }
    let (Some(fields), Some(model)) = (fields, model) else { return errors.into_tokens() };
    if !errors.is_empty() {
        return errors.into_tokens();
    }

    let view = &input.ident;
    let view_name = view.to_string();
    let row = Ident::new("row", Span::mixed_site());
    let serializer = Ident::new("serializer", Span::mixed_site());
    let members = Ident::new("members", Span::mixed_site());
    let count = fields.len();
    let named: Vec<_> = fields
        .iter()
        .filter_map(|field| Some((field.ident.as_ref()?, name_of(field.ident.as_ref()?), &field.ty)))
        .collect();
    let names = named.iter().map(|(_, name, _)| name);
    let moves = named.iter().map(|(ident, _, ty)| {
        let mut column = (*ident).clone();
        column.set_span(code_at(ident.span()));
        let span = code_at_type(ty);
        // The expression begins at the type, where a difference in type is shown.
        let mut row = row.clone();
        row.set_span(Span::mixed_site().located_at(span));
        quote_spanned!(span=> #ident: #row.#column)
    });
    let writes = named.iter().map(|(ident, name, ty)| {
        let span = code_at_type(ty);
        quote_spanned!(span=>
            ::bailiwick::model::json::SerializeStruct::serialize_field(&mut #members, #name, &self.#ident)?;
        )
    });
    let mutable = (count > 0).then(|| quote!(mut));
    let visible = quote_spanned!(code_at(model.span())=>
        const _: () = if let ::core::option::Option::Some(message) = ::bailiwick::model::derive::unseen(
            <#model as ::bailiwick::model::Model>::TABLE,
            <#view as ::bailiwick::model::View>::FIELDS,
        ) {
            ::core::panic!("{}", message.as_str());
        };
    );
    quote! {
        #[automatically_derived]
        #[allow(unused_qualifications)]
        impl ::bailiwick::model::json::Serialize for #view {
            fn serialize<S: ::bailiwick::model::json::Serializer>(
                &self,
                #serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                let #mutable #members =
                    ::bailiwick::model::json::Serializer::serialize_struct(#serializer, #view_name, #count)?;
                #(#writes)*
                ::bailiwick::model::json::SerializeStruct::end(#members)
            }
        }

        #[automatically_derived]
        #[allow(unused_qualifications)]
        impl ::core::convert::From<#model> for #view {
            fn from(#row: #model) -> Self {
                Self { #(#moves),* }
            }
        }

        #[automatically_derived]
        #[allow(unused_qualifications)]
        impl ::bailiwick::model::View for #view {
            type Of = #model;
            const FIELDS: &'static [&'static str] = &[#(#names),*];
        }

        #visible
    }
}
