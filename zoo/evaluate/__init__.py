"""What a fitted model says of rows: log-likelihood and how sure it is, clusters, embeddings, draws."""
