"""The task routes of one organisation."""

from django.http import Http404
from rest_framework.exceptions import PermissionDenied
from rest_framework.mixins import CreateModelMixin, ListModelMixin, RetrieveModelMixin
from rest_framework.viewsets import GenericViewSet

from .models import Membership, Task
from .serializers import TaskSerializer


class TaskViewSet(ListModelMixin, RetrieveModelMixin, CreateModelMixin, GenericViewSet):
    """Tasks, always of the organisation that the path names and the caller belongs to."""

    serializer_class = TaskSerializer

    def initial(self, request, *args, **kwargs):
        """Finds organisation and membership in one query; to an outsider, neither exists."""
        super().initial(request, *args, **kwargs)
        self.membership = (
            Membership.objects.select_related("organization")
            .filter(user=request.user, organization__slug=self.kwargs["org"])
            .first()
        )
        if self.membership is None:
            raise Http404
        if self.action == "create" and self.membership.role == Membership.Role.VIEWER:
            raise PermissionDenied

    def get_queryset(self):
        """Scoped in the query, as the chapter demands (§26.6.1).

        The answer shows related rows by their id alone, so there is nothing to `select_related`.
        """
        return Task.objects.filter(organization_id=self.membership.organization_id)

    def get_serializer_context(self):
        """Lets the serializer see the organisation."""
        return {**super().get_serializer_context(), "organization": self.membership.organization}

    def perform_create(self, serializer):
        """Sets what the client must not."""
        user = self.request.user
        serializer.save(organization=self.membership.organization, created_by=user, updated_by=user)
