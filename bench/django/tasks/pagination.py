"""The chapter's page numbers."""

from rest_framework.pagination import PageNumberPagination


class StandardResultsPagination(PageNumberPagination):
    """25 a page unless asked for more, and never more than 100."""

    page_size = 25
    page_size_query_param = "page_size"
    max_page_size = 100
