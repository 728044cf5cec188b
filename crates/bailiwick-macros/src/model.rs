//! `#[derive(Model)]`.
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{DeriveInput, Expr, ExprLit, Field, Ident, Lit, Type};

use crate::{
    attr::{Errors, Item, Value, code_at, code_at_type, items, name_of, named_fields, unique, unknown},
    names,
};

/// The parts a column can play, by the keys that say so, with their names in `bailiwick::model::Part`.
const PARTS: &[(&str, &str)] = &[
    ("id", "Id"),
    ("tenant", "Tenant"),
    ("owner", "Owner"),
    ("created_at", "CreatedAt"),
    ("updated_at", "UpdatedAt"),
    ("updated_by", "UpdatedBy"),
    ("version", "Version"),
    ("managed", "Managed"),
];
const FIELD_KEYS: &[&str] = &[
    "id",
    "tenant",
    "owner",
    "created_at",
    "updated_at",
    "updated_by",
    "version",
    "managed",
    "filter",
    "order",
    "search",
];
const FILTERS: &[&str] = &["eq", "gte", "lte", "in"];
/// Query parameters of every list: a filter of the same name could never be told from them.
const LIST_PARAMETERS: &[&str] =
    &["page", "page_size", "cursor", "limit", "offset", "ordering", "search", "format"];
/// PostgreSQL cuts longer names, so that two of them may become one.
const MAX_NAME_BYTES: usize = 63;

#[derive(Clone, Copy, PartialEq)]
enum Scope {
    Org,
    Caller,
}

struct Table {
    name: String,
    scope: Scope,
    counted: bool,
}

struct Column<'a> {
    field: &'a Field,
    ident: &'a Ident,
    name: String,
    /// The key that names the part, and where it is written; none means that clients may write.
    part: Option<(&'static str, Span)>,
    filters: Vec<(String, Span)>,
    order: bool,
    /// The direction in `order(default = …)`, as it is called in `bailiwick::model::Direction`.
    default_order: Option<(&'static str, Span)>,
    search: Option<Span>,
}

impl Column<'_> {
    fn is(&self, part: &str) -> bool {
        self.part.is_some_and(|(key, _)| key == part)
    }

    fn filters_by(&self, operator: &str) -> bool {
        self.filters.iter().any(|(name, _)| name == operator)
    }
}

pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let Some(fields) = named_fields(input, "a model", &mut errors) else { return errors.into_tokens() };
    let table = table(input, &mut errors);
    let columns: Vec<_> = fields.into_iter().filter_map(|field| column(field, &mut errors)).collect();
    check_parts(input, &columns, &mut errors);
    let Some(module) = column_module(input, &columns, &mut errors) else { return errors.into_tokens() };

    // The code is written even if something is wrong: else each use of the model would be one more error.
    let implementation = implementation(input, &table, &columns);
    let checks = checks(input, &table, &columns);
    let errors = errors.into_tokens();
    quote!(#errors #implementation #module #checks)
}

fn table(input: &DeriveInput, errors: &mut Errors) -> Table {
    let mut name = None;
    let mut scope = None;
    let mut counted = false;
    let items = items(&input.attrs, "model", errors);
    for item in &items {
        match item.key.to_string().as_str() {
            "table" => name = Some(table_name(item, errors)),
            "scope" => scope = Some(scope_of(item, errors)),
            "counted" => {
                item.must_be_bare(errors);
                counted = true;
            }
            _ => unknown(&item.key, &["table", "scope", "counted"], errors),
        }
    }
    if name.is_none() {
        errors.at(input.ident.span(), "say which table it is: #[model(table = \"…\", scope = Org)]");
    }
    if scope.is_none() {
        errors.at(
            input.ident.span(),
            "say what its rows belong to: #[model(table = \"…\", scope = Org)] for an organisation's rows, \
             `scope = Caller` for rows that only one user sees",
        );
    }
    Table { name: name.flatten().unwrap_or_default(), scope: scope.flatten().unwrap_or(Scope::Org), counted }
}

fn table_name(item: &Item, errors: &mut Errors) -> Option<String> {
    let expr = item.expr("table = \"tasks\"", errors)?;
    let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = expr else {
        errors.on(expr, "a table's name is a string: write `table = \"tasks\"`");
        return None;
    };
    if let Err(wrong) = sql_name(&text.value()) {
        errors.on(text, format_args!("a table's name {wrong}"));
    }
    Some(text.value())
}

/// Says what is wrong with a name that should need no quotes in SQL.
fn sql_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if !name.bytes().next().is_some_and(|first| first.is_ascii_lowercase()) || !name.bytes().all(allowed) {
        Err("begins with one of a-z, and consists of a-z, 0-9 and _".to_owned())
    } else if name.len() > MAX_NAME_BYTES {
        Err(format!("has at most {MAX_NAME_BYTES} characters"))
    } else {
        Ok(())
    }
}

fn scope_of(item: &Item, errors: &mut Errors) -> Option<Scope> {
    let expr = item.expr("scope = Org", errors)?;
    match word(expr).as_deref() {
        Some("Org") => Some(Scope::Org),
        Some("Caller") => Some(Scope::Caller),
        _ => {
            errors.on(expr, "a scope is `Org` or `Caller`");
            None
        }
    }
}

/// The only identifier that `expr` consists of.
fn word(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Path(path) => path.path.get_ident().map(Ident::to_string),
        _ => None,
    }
}

fn column<'a>(field: &'a Field, errors: &mut Errors) -> Option<Column<'a>> {
    let ident = field.ident.as_ref()?;
    let mut column = Column {
        field,
        ident,
        name: name_of(ident),
        part: None,
        filters: Vec::new(),
        order: false,
        default_order: None,
        search: None,
    };
    for item in items(&field.attrs, "model", errors) {
        let key = item.key.to_string();
        if let Some((part, _)) = PARTS.iter().find(|(part, _)| *part == key) {
            item.must_be_bare(errors);
            match column.part {
                Some((first, _)) => errors.at(
                    item.key.span(),
                    format_args!("a column plays one part: this one is marked `{first}` already"),
                ),
                None => column.part = Some((part, item.key.span())),
            }
            continue;
        }
        match key.as_str() {
            "filter" => column.filters = filters(&item, errors),
            "order" => {
                column.order = true;
                column.default_order = default_order(&item, errors);
            }
            "search" => {
                item.must_be_bare(errors);
                column.search = Some(item.key.span());
            }
            _ => unknown(&item.key, FIELD_KEYS, errors),
        }
    }
    check_column(&column, errors);
    Some(column)
}

fn filters(item: &Item, errors: &mut Errors) -> Vec<(String, Span)> {
    let example = "filter(eq, in)";
    let Some(list) = item.list(example, errors) else { return Vec::new() };
    if list.is_empty() {
        let message = format_args!("say by which comparisons clients may filter: write `{example}`");
        errors.at(item.key.span(), message);
    }
    let mut filters = Vec::new();
    for operator in unique(list.clone(), &[], errors) {
        operator.must_be_bare(errors);
        let name = operator.key.to_string();
        if FILTERS.contains(&name.as_str()) {
            filters.push((name, operator.key.span()));
        } else {
            unknown(&operator.key, FILTERS, errors);
        }
    }
    filters
}

fn default_order(item: &Item, errors: &mut Errors) -> Option<(&'static str, Span)> {
    let list = match &item.value {
        Value::None => return None,
        _ => item.list("order(default = desc)", errors)?,
    };
    let mut direction = None;
    let inner = unique(list.clone(), &[], errors);
    if inner.is_empty() {
        errors.at(item.key.span(), "write `order`, or `order(default = desc)`");
    }
    for option in inner {
        if option.key != "default" {
            unknown(&option.key, &["default"], errors);
            continue;
        }
        let Some(expr) = option.expr("default = desc", errors) else { continue };
        match word(expr).as_deref() {
            Some("asc") => direction = Some(("Ascending", option.key.span())),
            Some("desc") => direction = Some(("Descending", option.key.span())),
            _ => errors.on(expr, "a direction is `asc` or `desc`"),
        }
    }
    direction
}

fn check_column(column: &Column<'_>, errors: &mut Errors) {
    if let Err(wrong) = sql_name(&column.name) {
        errors.at(column.ident.span(), format_args!("a column's name {wrong}"));
    }
    if column.name.contains("__") {
        let message =
            "a column's name has no `__`: it sets off the comparison in a filter, as in `?due_at__gte=`";
        errors.at(column.ident.span(), message);
    }
    if let Some((_, span)) = column.filters.first()
        && LIST_PARAMETERS.contains(&column.name.as_str())
    {
        let message = format_args!(
            "`?{}=` has a meaning of its own in every list, so no filter has that name: rename the column",
            column.name
        );
        errors.at(*span, message);
    }
}

fn check_parts(input: &DeriveInput, columns: &[Column<'_>], errors: &mut Errors) {
    for (part, _) in PARTS.iter().filter(|(part, _)| *part != "managed") {
        let mut playing = columns.iter().filter(|column| column.is(part));
        let Some(first) = playing.next() else { continue };
        for other in playing {
            let span = other.part.map_or_else(Span::call_site, |(_, span)| span);
            let message = format_args!("only one column can be the `{part}`: `{}` is it already", first.name);
            errors.at(span, message);
        }
    }
    if !columns.iter().any(|column| column.is("id")) {
        errors.at(input.ident.span(), "no column identifies a row: mark one with #[model(id)]");
    }
    if !columns.iter().any(|column| column.is("tenant")) {
        errors.at(
            input.ident.span(),
            "no column says whom a row belongs to: mark one with #[model(tenant)]; without it nothing could \
             keep the rows of two tenants apart",
        );
    }
    let mut defaults = columns.iter().filter_map(|column| Some((column, column.default_order?.1)));
    if let Some((first, _)) = defaults.next() {
        for (_, span) in defaults {
            let message = format_args!("lists have one default order: `{}` is it already", first.name);
            errors.at(span, message);
        }
    }
}

fn implementation(input: &DeriveInput, table: &Table, columns: &[Column<'_>]) -> TokenStream {
    let model = &input.ident;
    let Table { name, counted, .. } = table;
    let scope = match table.scope {
        Scope::Org => quote!(Org),
        Scope::Caller => quote!(Caller),
    };
    let definitions = columns.iter().map(definition);
    let reads = columns.iter().enumerate().map(|(at, column)| {
        let (ident, ty) = (column.ident, &column.field.ty);
        let span = code_at_type(ty);
        quote_spanned!(span=> #ident: ::bailiwick::model::read_column::<#ty>(row, #at)?)
    });
    let (key_type, key) = match columns.iter().find(|column| column.is("id")) {
        Some(Column { ident, field, .. }) => {
            let ty = &field.ty;
            (quote!(#ty), quote!(self.#ident))
        }
        // An error is on its way.
        None => (quote!(::bailiwick::id::Id<Self>), quote!(::core::unreachable!())),
    };
    let version = match columns.iter().find(|column| column.is("version")) {
        Some(Column { ident, field, .. }) => {
            let span = code_at_type(&field.ty);
            let count = quote_spanned!(span=> ::bailiwick::model::derive::count(&self.#ident));
            quote!(::core::option::Option::Some(#count))
        }
        None => quote!(::core::option::Option::None),
    };
    quote! {
        #[automatically_derived]
        #[allow(unused_qualifications)]
        impl ::bailiwick::model::Model for #model {
            type Key = #key_type;

            const TABLE: &'static ::bailiwick::model::TableDef = &::bailiwick::model::TableDef {
                name: #name,
                scope: ::bailiwick::model::ScopeKind::#scope,
                counted: #counted,
                columns: &[#(#definitions),*],
            };

            fn from_row(
                row: &dyn ::bailiwick::model::RowReader,
            ) -> ::core::result::Result<Self, ::bailiwick::error::DecodeError> {
                ::core::result::Result::Ok(Self { #(#reads),* })
            }

            fn version(&self) -> ::core::option::Option<i64> {
                #version
            }

            fn key(&self) -> Self::Key {
                #key
            }
        }
    }
}

fn definition(column: &Column<'_>) -> TokenStream {
    let name = &column.name;
    let ty = &column.field.ty;
    let part = PARTS.iter().find(|(part, _)| column.is(part)).map_or("Writable", |(_, variant)| variant);
    let part = Ident::new(part, Span::call_site());
    let [eq, gte, lte, is_in] = ["eq", "gte", "lte", "in"].map(|operator| column.filters_by(operator));
    let order = column.order;
    let default_order = match column.default_order {
        Some((direction, _)) => {
            let direction = Ident::new(direction, Span::call_site());
            quote!(::core::option::Option::Some(::bailiwick::model::Direction::#direction))
        }
        None => quote!(::core::option::Option::None),
    };
    let search = column.search.is_some();
    let span = code_at_type(ty);
    let field_type = quote_spanned!(span=> <#ty as ::bailiwick::model::FieldType>);
    quote! {
        ::bailiwick::model::ColumnDef {
            name: #name,
            kind: #field_type::KIND,
            nullable: #field_type::NULLABLE,
            choices: #field_type::CHOICES,
            part: ::bailiwick::model::Part::#part,
            filters: ::bailiwick::model::FilterOps { eq: #eq, gte: #gte, lte: #lte, is_in: #is_in },
            order: #order,
            default_order: #default_order,
            search: #search,
        }
    }
}

/// The module with one constant a column, or nothing where the model's name allows no module.
fn column_module(input: &DeriveInput, columns: &[Column<'_>], errors: &mut Errors) -> Option<TokenStream> {
    let model = &input.ident;
    let module = names::module(model, model.span());
    let Some(module) = module.filter(|module| module != model) else {
        errors.at(
            model.span(),
            "the columns of a model live in a module that is called like it in snake_case, which is not \
             possible here: name the struct like `Task`",
        );
        return None;
    };
    let visibility = &input.vis;
    let about = format!("The columns of [`{model}`](super::{model}).");
    let constants = columns.iter().enumerate().map(|(at, column)| {
        let ident = column.ident;
        let ty = names::one_deeper(&column.field.ty, model);
        let (writer, whose) = match column.part {
            Some(_) => (quote!(ServerOwned), "the server"),
            None => (quote!(Writable), "clients"),
        };
        let about = format!("`{}`, which {whose} may write.", column.name);
        let span = code_at(ident.span());
        let new = quote_spanned!(span=> ::bailiwick::model::Column::new(#at));
        quote! {
            #[doc = #about]
            pub const #ident: ::bailiwick::model::Column<super::#model, #ty, ::bailiwick::model::#writer> =
                #new;
        }
    });
    Some(quote! {
        #[doc = #about]
        #[allow(
            non_upper_case_globals,
            dead_code,
            unused_imports,
            unreachable_pub,
            private_interfaces,
            missing_docs,
            unused_qualifications
        )]
        #visibility mod #module {
            use super::*;

            #(#constants)*
        }
    })
}

/// What can only be checked where types are known.
fn checks(input: &DeriveInput, table: &Table, columns: &[Column<'_>]) -> TokenStream {
    let model = &input.ident;
    let part_types = columns.iter().filter_map(|column| {
        let (part, _) = column.part?;
        let check = match part {
            "id" => "id",
            "tenant" if table.scope == Scope::Caller => "tenant_of_caller",
            "tenant" => "tenant_of_org",
            "owner" | "updated_by" => "actor",
            "created_at" | "updated_at" => "moment",
            // `version()` makes sure of its type itself.
            _ => return None,
        };
        let span = code_at_type(&column.field.ty);
        let check = Ident::new(check, span);
        let ty = names::beside(&column.field.ty, model);
        Some(quote_spanned!(span=>
            #[allow(unused_qualifications)]
            const _: () = ::bailiwick::model::derive::#check::<#ty>();
        ))
    });
    let searches = columns.iter().filter_map(|column| {
        let message = format!("`search` looks into text, and `{}` is none: take `search` away", column.name);
        Some(kind_check(model, &column.field.ty, column.search?, "searchable", &message))
    });
    let comparisons = columns.iter().flat_map(|column| {
        let operators = column.filters.iter().filter(|(operator, _)| operator == "gte" || operator == "lte");
        operators.map(|(operator, span)| {
            let message = format!(
                "`filter({operator})` compares numbers and times, and `{}` is neither: take `{operator}` away",
                column.name
            );
            kind_check(model, &column.field.ty, *span, "comparable", &message)
        })
    });
    let serializes = format!(
        "`{model}` is a stored row, and must not be Serialize: a handler could return it with every column \
         (I4); show clients a view of it: #[derive(View)] #[view(of = {model})]"
    );
    let span = code_at(model.span());
    let serializes = quote_spanned!(span=>
        const _: () = {
            #[allow(unused_imports)]
            use ::bailiwick::model::derive::SerializesNot as _;
            ::core::assert!(!::bailiwick::model::derive::Serializes::<#model>::IS, #serializes);
        };
    );
    let fields = columns.iter().map(|column| column.ident);
    quote! {
        #(#part_types)*
        #(#searches)*
        #(#comparisons)*
        #serializes
        // A tenant column is there for SQL, and often read by nothing else.
        const _: () = {
            #[allow(dead_code)]
            fn every_field_is_read(row: &#model) {
                #(let _ = &row.#fields;)*
            }
        };
    }
}

/// A constant that does not compile unless the type's kind passes `check`.
fn kind_check(model: &Ident, ty: &Type, place: Span, check: &str, message: &str) -> TokenStream {
    let span = code_at(place);
    let check = Ident::new(check, span);
    let ty = names::beside(ty, model);
    quote_spanned!(span=>
        #[allow(unused_qualifications)]
        const _: () = ::core::assert!(::bailiwick::model::derive::#check::<#ty>(), #message);
    )
}
