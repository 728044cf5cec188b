"""Tasks as JSON."""

from rest_framework import serializers

from .models import Task, User


class TaskSerializer(serializers.ModelSerializer):
    """A write-whitelist: whatever is not listed as writable belongs to the server."""

    assignee = serializers.PrimaryKeyRelatedField(
        queryset=User.objects.none(), allow_null=True, required=False
    )

    class Meta:
        """The fields of v1."""

        model = Task
        fields = [
            "id",
            "title",
            "description",
            "status",
            "priority",
            "assignee",
            "due_at",
            "created_by",
            "updated_by",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["id", "created_by", "updated_by", "created_at", "updated_at"]

    def get_fields(self):
        """An assignee can only be a member of the organisation of the request."""
        fields = super().get_fields()
        if organization := self.context.get("organization"):
            fields["assignee"].queryset = User.objects.filter(memberships__organization=organization)
        return fields
